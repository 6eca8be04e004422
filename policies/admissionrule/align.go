package admissionrule

import "reflect"

// Align finds for each entry of a list its index in the list as it was before a mutation, or -1 if it was not there.
// Entries stay in their order. In a list of the same length, they are where they were.
func Align(before, after []any) (origin []int) {
	origin = make([]int, len(after))
	if len(before) == len(after) {
		for i := range origin {
			origin[i] = i
		}
		return origin
	}
	start, end := 0, 0
	for start < min(len(before), len(after)) && extends(before[start], after[start]) {
		start++
	}
	for end < min(len(before), len(after))-start && extends(before[len(before)-1-end], after[len(after)-1-end]) {
		end++
	}
	found := longestCommon(before[start:len(before)-end], after[start:len(after)-end])
	for i := range after {
		was, there := found[i-start]
		switch {
		case i < start:
			origin[i] = i
		case i >= len(after)-end:
			origin[i] = i - len(after) + len(before)
		case there:
			origin[i] = start + was
		default:
			origin[i] = -1
		}
	}
	return origin
}

// longestCommon finds the longest row of entries that are in both lists, by their index after the mutation. Lists with too many
// different entries have none.
func longestCommon(before, after []any) map[int]int {
	const most = 1 << 14
	if len(before)*len(after) > most {
		return nil
	}
	length := make([][]int, len(before)+1)
	length[len(before)] = make([]int, len(after)+1)
	same := func(b, a int) bool { return extends(before[b], after[a]) }
	for b := len(before) - 1; b >= 0; b-- {
		length[b] = make([]int, len(after)+1)
		for a := len(after) - 1; a >= 0; a-- {
			if length[b][a] = max(length[b+1][a], length[b][a+1]); same(b, a) {
				length[b][a] = max(length[b][a], 1+length[b+1][a+1])
			}
		}
	}
	found := map[int]int{}
	for b, a := 0, 0; b < len(before) && a < len(after); {
		switch {
		case same(b, a) && length[b][a] == 1+length[b+1][a+1]:
			found[a] = b
			b, a = b+1, a+1
		case length[b+1][a] >= length[b][a+1]:
			b++
		default:
			a++
		}
	}
	return found
}

// extends reports whether a value has at least what another one has.
func extends(before, after any) bool {
	switch before := before.(type) {
	case map[string]any:
		after, ok := after.(map[string]any)
		for name, value := range before {
			now, there := after[name]
			ok = ok && there && extends(value, now)
		}
		return ok
	case []any:
		after, ok := after.([]any)
		for at := 0; ok && at < len(before); at++ { // Each of the entries, in this order.
			for len(after) > 0 && !extends(before[at], after[0]) {
				after = after[1:]
			}
			if ok = len(after) > 0; ok {
				after = after[1:]
			}
		}
		return ok
	}
	return reflect.DeepEqual(before, after)
}
