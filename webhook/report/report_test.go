package report

import (
	"strings"
	"testing"
)

// TestExcerpt: of a long line, only what is around the column is shown, and a column outside of the line is at its end.
func TestExcerpt(t *testing.T) {
	long := strings.Repeat("é", 1000) + "!" + strings.Repeat("ü", 1000)
	for _, c := range []struct {
		line           string
		column         int
		before, behind string
	}{
		{"kind: A", 7, "kind: ", "A"},
		{"kind: A", 1, "", "kind: A"},
		{"kind: A", 0, "", "kind: A"},
		{"kind: A", 9, "kind: A", ""},
		{long[:300], 140, strings.Repeat("é", 139), strings.Repeat("é", 11)},
		{long, 1001, "…" + strings.Repeat("é", 80), "!" + strings.Repeat("ü", 79) + "…"},
		{long, 1, "", strings.Repeat("é", 160) + "…"},
		{long, 2001, "…" + strings.Repeat("ü", 80), "ü"},
	} {
		before, behind := excerpt(c.line, c.column)
		if string(before) != c.before || string(behind) != c.behind {
			t.Errorf("column %d of %.10q: %q, %q; want %q, %q", c.column, c.line, string(before), string(behind), c.before, c.behind)
		}
	}
}
