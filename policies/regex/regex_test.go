package regex

import (
	"regexp/syntax"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestCheck(t *testing.T) {
	for name, c := range map[string]struct{ expression, want string }{
		"plain":                 {`/api/v[0-9]+/.*`, ""},
		"longest plain text":    {strings.Repeat("a", 4096), ""},
		"longest folded text":   {"(?i)" + strings.Repeat("book", 1023), ""},
		"letters of any script": {`^[\pL\p{N}_-]+$`, ""},
		"scripts":               {`\p{Greek}|\P{^Cyrillic}|\p{Any}`, ""},
		"Cyrillic, any case":    {`(?i)[а-я]+`, ""},
		"look-ahead": {
			`/v(?=1)`,
			"regular expression \"/v(?=1)\" is not valid RE2: invalid or unsupported Perl syntax: `(?=`: correct it (RE2 has no look-around and no back-references)",
		},
		"repeated": {
			`(?:` + strings.Repeat("a", 3000) + `){1000}`,
			"needs a program of 3002008 instructions, and 8192 are the most: repeat less",
		},
		"nested repeats": {`(?:(?:(?:abcdefghijklmnopqrst){10}){10}){10}`, "needs a program of"},
		"more than Go takes": {
			`(?:[^a]` + strings.Repeat("a", 4000) + `){1000}`,
			"needs a program of many more instructions",
		},
		"too deep": {
			strings.Repeat("(", 1500) + strings.Repeat(")", 1500),
			"needs a program of many more instructions",
		},
		"many classes": {
			strings.Repeat(`\pL`, 61),
			"needs 305183 steps to be read, and 300000 are the most: use fewer Unicode classes",
		},
		"wide ranges, any case": {"(?i)" + strings.Repeat(`[B-\x{1e943}]`, 3), "steps to be read"},
		"Go's name of a class":  {`\p{Letter}`, `no Unicode class is named "Letter": write a category such as L or Lu`},
		"Go's own class":        {`\p{^ASCII}`, `no Unicode class is named "ASCII"`},
		"new script":            {`\p{Garay}`, `no Unicode class is named "Garay"`},
		"number of a rune": {
			`[a-\x{ff}]\x{100}`,
			`names the character \x{100} by its number, and Envoy knows numbers of bytes only: write the character itself`,
		},
		"repeats of nothing": {`(?:(?:(?:a{5,}){0})*?){999}`, "needs a program of"},
		"quoted":             {`\Q\p{Letter}\E`, ""},
		"long":               {strings.Repeat("é", 2000) + "(", "ééé…ééé"},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			if err := Check(c.expression); err != nil {
				got = err.Error()
			}
			if (got == "") != (c.want == "") || !strings.Contains(got, c.want) || strings.ContainsAny(got, "\n") ||
				len(got) > 700 {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// FuzzCheck checks that parsing any expression is cheap, and that accepted expressions are valid in Go too.
func FuzzCheck(f *testing.F) {
	for _, expression := range []string{
		`(?i)[B-𞥃]`, `\pL\p{^Greek}`, `(?:a{10}){10}`, `\Qa\E*`, `[[:word:]]\b(?m:^)$`,
		`(?i)[\x{100}-\x{1e943}]`, `\x{10}`,
	} {
		f.Add(expression)
		f.Add(strings.Repeat(expression, 4096/len(expression)))
	}
	f.Fuzz(func(t *testing.T, expression string) {
		if len(expression) > 4096 {
			t.Skip()
		}
		runtime.LockOSThread() // Other goroutines do not count.
		defer runtime.UnlockOSThread()
		start := threadTime(t)
		cost, err := Measure(expression)
		if took := threadTime(t) - start; took > time.Second {
			t.Errorf("reading %q took %s of the processor", expression, took)
		}
		if err != nil {
			return
		}
		if _, err := syntax.Parse(expression, syntax.Perl); err != nil {
			t.Errorf("%q is taken, but is no expression: %v", expression, err)
		}
		if cost.Program > MaxProgram || cost.Memory <= 0 {
			t.Errorf("%q costs %+v", expression, cost)
		}
	})
}

// threadTime is the CPU time that this thread has used.
func threadTime(t *testing.T) time.Duration {
	t.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_THREAD, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// The maximum time for parsing one expression, and the time for a typical one.
func BenchmarkMeasure(b *testing.B) {
	for name, expression := range map[string]string{
		"usual": `/api/v[0-9]+/users/[^/]+`, "classes": strings.Repeat(`\pL`, 59), "folded classes": "(?i)" +
			strings.Repeat(`\pL`, 59), "folded range": `(?i)[B-\x{1e943}][B-\x{1e943}]`,
		"folded classes in one": "(?i)[" + strings.Repeat(`\pL`, 59) + "]",
		"text":                  strings.Repeat("a", 4096), "groups": strings.Repeat("(a|b)?", 682),
		"alternatives": strings.Repeat("ab|", 1365), "letters": strings.Repeat("[ab]|", 819), "ranges": "[" +
			strings.Repeat("éa", 1365) + "]",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = Check(expression)
			}
		})
	}
}
