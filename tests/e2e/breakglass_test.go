package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// TestBreakGlass: a route that can never work is stored if it has the annotation with a reason, and only then. An Event
// at the route says who did it, and a dry run leaves none.
func TestBreakGlass(t *testing.T) {
	t.Parallel()
	s := newScene(t, "glass")
	broken := func(name, annotation string) string {
		return strings.Replace(hopeless, "{name: hopeless}",
			fmt.Sprintf("{name: %s, annotations: {gatehouse.dev/break-glass: %q}}", name, annotation), 1)
	}
	const at = "metadata.annotations[gatehouse.dev/break-glass]: "
	if out, err := s.tryApply(broken("silent", "")); err == nil || !strings.Contains(out, at+`"" is not a reason`) {
		t.Errorf("without a reason: %v\n%s", err, out)
	}
	out, err := kubectlOf(broken("tried", "incident 4711"), "apply", "--dry-run=server", "-n", s.namespace, "-f", "-")
	must(t, out, err)
	out, err = s.tryApply(broken("stored", "incident 4711"))
	if must(t, out, err); !strings.Contains(out, "Warning: "+at+`"incident 4711" overrules`) ||
		!strings.Contains(out, "Warning: spec.rules[0].matches[0].path.value") {
		t.Errorf("the warnings are %s", out)
	}
	out = s.kubectl(t, "get", "events", "--field-selector=reason=BreakGlass", "-o",
		`jsonpath={range .items[*]}{.involvedObject.kind} {.involvedObject.name} {.message}{"\n"}{end}`)
	if lines := strings.Split(strings.TrimSpace(out), "\n"); len(lines) != 1 ||
		!strings.HasPrefix(out, "HTTPRoute stored CREATE by ") || !strings.Contains(out, `"incident 4711"`) {
		t.Errorf("the Events are %q", out)
	}
	if out = s.kubectl(t, "label", "httproute", "stored", "team=a"); !strings.Contains(out,
		"Warning: "+at+`"incident 4711" would overrule`) {
		t.Errorf("a further change is not warned of: %s", out)
	}
}
