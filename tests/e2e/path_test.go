package e2e

import (
	"fmt"
	"net/http"
	"testing"
)

// TestSpellingsOfAPath: a path in another case, or with a parameter, is another path, whatever a backend makes of it;
// and the expression that docs/operations.md gives for such backends matches all spellings.
func TestSpellingsOfAPath(t *testing.T) {
	t.Parallel()
	s := newScene(t, "spelling")
	const host = "hostnames: [%s.example.com]\n  rules:\n  - matches: [{path: {%s}}]"
	s.apply(t, fmt.Sprintf(echoServer, "a", 1), plainGateway,
		marked("prefix", "{name: gw}", fmt.Sprintf(host, "prefix", "value: /admin")),
		marked("prefix-all", "{name: gw}", fmt.Sprintf(host, "prefix", "value: /")),
		marked("spellings", "{name: gw}", fmt.Sprintf(host, "spellings",
			`type: RegularExpression, value: "(?i)/admin([;/].*)?"`)),
		marked("spellings-all", "{name: gw}", fmt.Sprintf(host, "spellings", "value: /")),
	)
	at := address(t, s.namespace, "gw")
	for _, name := range []string{"prefix", "spellings"} {
		settles(t, at, "GET "+name+".example.com/admin", http.StatusOK)
		fallsTo(t, at, "GET "+name+".example.com/admin", name)
		fallsTo(t, at, "GET "+name+".example.com/", name+"-all")
	}
	for path, protected := range map[string]bool{
		"/admin": true, "/admin/x": true, "/admin?x=y": true, "//admin": true, "/%61dmin": true, "/x/../admin": true,
		"/administration": false,
	} {
		for _, name := range []string{"prefix", "spellings"} {
			want := name + "-all"
			if protected {
				want = name
			}
			takenBy(t, at, "GET "+name+".example.com"+path, want)
		}
	}
	for _, path := range []string{"/ADMIN", "/Admin/x", "/admin;x=y", "/admin;x=y/z"} {
		takenBy(t, at, "GET prefix.example.com"+path, "prefix-all")
		takenBy(t, at, "GET spellings.example.com"+path, "spellings")
	}
}
