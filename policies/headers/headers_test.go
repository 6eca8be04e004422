package headers

import (
	"slices"
	"strings"
	"testing"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// TestCheckChanges has each header that is about a message changed in each way, and names and values that are no
// headers.
func TestCheckChanges(t *testing.T) {
	change := func(name string) *gwapiv1.HTTPHeaderFilter {
		h := []gwapiv1.HTTPHeader{{Name: gwapiv1.HTTPHeaderName(name), Value: "4"}}
		return &gwapiv1.HTTPHeaderFilter{Set: h, Add: h, Remove: []string{name}}
	}
	refused := append(feature.MessageHeaders(), "Content-Length", "HOST", "Transfer-encoding", ":path", ":status", "",
		"a b", "a\r\nb", "é")
	for _, name := range refused {
		got := fields(checkChanges("f", change(name)))
		for _, want := range []string{"f.set[0].name", "f.add[0].name", "f.remove[0]"} {
			if !slices.Contains(got, want) {
				t.Errorf("%q: %s is not refused, only %q are", name, want, got)
			}
		}
	}
	for value, fine := range map[string]bool{
		"": true, "a b\tc": true, "100%": true, "é": true, "a\nb": false, "a\r\nb": false, "a\x00": false, "\x1b[0m": false,
		"\x7f": false,
	} {
		if got := feature.CheckHeaderValue("v", "x", value); (len(got) == 0) != fine {
			t.Errorf("value %q: got %v, want fine %t", value, got, fine)
		}
	}
	if got := checkChanges("f", nil); got != nil {
		t.Errorf("no filter: got %v", got)
	}
}

// TestHeadersAreChangedOnce has a header changed by two entries of a filter, in the same and in different ways.
func TestHeadersAreChangedOnce(t *testing.T) {
	header := func(names ...string) (list []gwapiv1.HTTPHeader) {
		for _, name := range names {
			list = append(list, gwapiv1.HTTPHeader{Name: gwapiv1.HTTPHeaderName(name), Value: "v"})
		}
		return list
	}
	for want, f := range map[string]*gwapiv1.HTTPHeaderFilter{
		"":              {Set: header("X-A", "x-b"), Add: header("x-c"), Remove: []string{"x-d"}},
		"f.set[1].name": {Set: header("X-A", "x-a")},
		"f.add[1].name": {Add: header("X-A", "x-a")},
		"f.remove[1]":   {Remove: []string{"X-A", "x-a"}},
		"f.add[0].name": {Set: header("X-A"), Add: header("x-A")},
		"f.remove[0]":   {Set: header("X-A"), Remove: []string{"x-a"}},
	} {
		if got := strings.Join(fields(checkChanges("f", f)), " "); got != want {
			t.Errorf("%+v: got problems at %q, want %q", f, got, want)
		}
	}
}

func fields(problems []verdict.Problem) []string {
	var at []string
	for _, p := range problems {
		at = append(at, p.Field)
		if p.Weight != verdict.Invalid || strings.ContainsAny(p.Message, "\n\r") {
			panic("not Invalid, or not one line: " + p.String())
		}
	}
	return at
}
