package compare

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"gatehouse/translator"
	"gatehouse/xds/view"
)

// context is how many equal lines are around a difference.
const context = 3

// Resources writes the differences of the resources as a unified diff of YAML, and reports whether there are some.
func Resources(to io.Writer, before, after []translator.Delta) (differ bool, err error) {
	old, err := documents(before)
	if err != nil {
		return false, err
	}
	now, err := documents(after)
	if err != nil {
		return false, err
	}
	for _, name := range both(old, now) {
		if old[name] == now[name] {
			continue
		}
		differ = true
		if _, err := io.WriteString(to, unified(name, old[name], now[name])); err != nil {
			return differ, err
		}
	}
	return differ, nil
}

// documents are the resources as YAML, by fleet, type and name.
func documents(deltas []translator.Delta) (map[string]string, error) {
	fleets, err := view.Of(deltas)
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	for _, f := range fleets {
		for _, s := range f.Sections {
			for _, r := range s.Resources {
				text, err := r.YAML()
				if err != nil {
					return nil, err
				}
				all[f.Name+" "+s.Name+" "+r.Name] = string(text)
			}
		}
	}
	return all, nil
}

// edit is a line that is kept (blank), removed or added.
type edit struct {
	sign byte
	line string
}

// unified is a unified diff of two texts.
func unified(name, before, after string) string {
	edits := lines(split(before), split(after))
	var b strings.Builder
	fmt.Fprintf(&b, "--- %s\n+++ %s\n", name, name)
	for start := 0; start < len(edits); {
		first := slices.IndexFunc(edits[start:], func(e edit) bool { return e.sign != ' ' })
		if first < 0 {
			break
		}
		from, end, same := max(start+first-context, start), start+first, 0
		for ; end < len(edits) && same <= 2*context; end++ {
			if same++; edits[end].sign != ' ' {
				same = 0
			}
		}
		to := end - max(same-context, 0)
		hunk(&b, edits, from, to)
		start = to
	}
	return b.String()
}

// hunk writes some of the edits.
func hunk(b *strings.Builder, edits []edit, from, to int) {
	count := func(list []edit, without byte) (n int) {
		for _, e := range list {
			if e.sign != without {
				n++
			}
		}
		return n
	}
	begin := func(without byte) int {
		return count(edits[:from], without) + min(count(edits[from:to], without), 1)
	}
	fmt.Fprintf(b, "@@ -%d,%d +%d,%d @@\n", begin('+'), count(edits[from:to], '+'), begin('-'), count(edits[from:to], '-'))
	for _, e := range edits[from:to] {
		fmt.Fprintf(b, "%c%s\n", e.sign, e.line)
	}
}

func split(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

// mostCompared limits how many lines are compared with each other. Longer differences are shown as a whole.
const mostCompared = 4000

// lines finds the edits that make one list of lines of another.
func lines(a, b []string) []edit {
	var head, tail []edit
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		head, a, b = append(head, edit{' ', a[0]}), a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		tail, a, b = append(tail, edit{' ', a[len(a)-1]}), a[:len(a)-1], b[:len(b)-1]
	}
	slices.Reverse(tail)
	return slices.Concat(head, middle(a, b), tail)
}

// middle finds the edits by the longest common part.
func middle(a, b []string) (edits []edit) {
	if len(a) > mostCompared || len(b) > mostCompared {
		return slices.Concat(signed('-', a), signed('+', b))
	}
	longest := make([][]int32, len(a)+1) // Of the rests of both.
	for i := range longest {
		longest[i] = make([]int32, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				longest[i][j] = longest[i+1][j+1] + 1
			} else {
				longest[i][j] = max(longest[i+1][j], longest[i][j+1])
			}
		}
	}
	i, j := 0, 0
	for i < len(a) && j < len(b) {
		switch {
		case a[i] == b[j]:
			edits = append(edits, edit{' ', a[i]})
			i, j = i+1, j+1
		case longest[i+1][j] >= longest[i][j+1]:
			edits = append(edits, edit{'-', a[i]})
			i++
		default:
			edits = append(edits, edit{'+', b[j]})
			j++
		}
	}
	return slices.Concat(edits, signed('-', a[i:]), signed('+', b[j:]))
}

func signed(sign byte, lines []string) []edit {
	edits := make([]edit, len(lines))
	for i, line := range lines {
		edits[i] = edit{sign, line}
	}
	return edits
}
