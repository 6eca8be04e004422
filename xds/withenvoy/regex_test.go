package withenvoy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"testing"
	"unicode"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"

	"gatehouse/infra/envoytest"
	"gatehouse/policies/regex"
	"gatehouse/translator"
)

// fragments are the parts of random expressions.
var fragments = []string{
	"a", "Z", "é", "語", "𞥃", ".", "[^/]", "[a-z0-9]", "[^a]", "[é-語]", `\pL`, `\p{Greek}`, `\PN`, `\d`, `\S`, `\b`, "^",
	"$", "(?i:k)", "(?i:é)", "(?s:.)", "(?m:^)", `\x{10000}`,
	"ab|cd", "(x)", "[[:word:]]", `(?i:[a-y])`, `(?U:a+)`, `\z`, `\A`, "(?P<n>y)", "",
}

// expression is a random expression, well-formed as a rule.
func expression(r *rand.Rand, depth int) string {
	if depth == 0 {
		return fragments[r.IntN(len(fragments))]
	}
	sub := func() string { return "(?:" + expression(r, depth-1) + ")" }
	switch r.IntN(7) {
	case 0:
		return sub() + []string{"*", "+", "?", "*?", "+?", "??"}[r.IntN(6)]
	case 1:
		return fmt.Sprintf("%s{%d}", sub(), r.IntN(12))
	case 2:
		return fmt.Sprintf("%s{%d,%d}", sub(), r.IntN(3), 3+r.IntN(9))
	case 3:
		return fmt.Sprintf("%s{%d,}", sub(), r.IntN(9))
	case 4:
		return sub() + "|" + sub()
	case 5:
		return "(" + expression(r, depth-1) + ")"
	}
	return expression(r, depth-1) + expression(r, depth-1)
}

// atLimit repeats an expression until one more repetition would exceed the limit.
func atLimit(expression string) (repeated string, ok bool) {
	form := func(n int) string { return fmt.Sprintf("(?:%s){%d}", expression, n) }
	n := sort.Search(1001, func(n int) bool { return n > 1000 || regex.Check(form(n)) != nil }) - 1
	if n < 1 {
		return "", false
	}
	return form(n), true
}

// matching is the RouteConfiguration of the tests with a route for each expression, which answers 200.
func matching(expressions []string) *translator.Resource {
	host := &routev3.VirtualHost{Name: "all", Domains: []string{"*"}}
	for i, e := range expressions {
		host.Routes = append(host.Routes, &routev3.Route{
			Name:   fmt.Sprint(i),
			Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: e}}},
			Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 200}},
		})
	}
	m := &routev3.RouteConfiguration{Name: web, VirtualHosts: []*routev3.VirtualHost{host}}
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(err)
	}
	sum := sha256.Sum256(body)
	return &translator.Resource{Type: url(m), Name: web, Version: hex.EncodeToString(sum[:8]), Pieces: [][]byte{body}}
}

// TestEnvoyTakesWhatIsTaken: Envoy accepts what the control plane accepts, up to the common limit, and neither accepts
// more.
func TestEnvoyTakesWhatIsTaken(t *testing.T) {
	var taken []string
	for _, name := range slices.Sorted(maps.Keys(unicode.Categories)) {
		taken = append(taken, fmt.Sprintf(`\p{%s}`, name))
	}
	for _, name := range slices.Sorted(maps.Keys(unicode.Scripts)) {
		taken = append(taken, fmt.Sprintf(`\P{%s}`, name))
	}
	taken = append(taken, `\p{Letter}`, `\p{ASCII}`, `\p{Assigned}`, `\p{greek}`, `\p{Any}`, `(?<n>a)`, `\C`,
		`[[:ascii:]]`, `\Q.\E`, strings.Repeat("(", 900)+strings.Repeat(")", 900))
	for seed := range uint64(600) {
		e := expression(rand.New(rand.NewPCG(seed, 1)), 1+int(seed%5))
		if most, ok := atLimit(e); ok {
			taken = append(taken, most)
		}
		taken = append(taken, e)
	}
	taken = slices.DeleteFunc(taken, func(e string) bool { return e == "" || regex.Check(e) != nil })
	c := start(t, listener("web", proxyPort, ""), cluster("one", ""), endpoints("one", 1), routes("/", "one"))
	c.quiet()
	answers := func() (taken, rejected int) {
		return c.stat("http.web.rds.web.update_success"), c.stat("http.web.rds.web.update_rejected")
	}
	// judged publishes expressions and reports whether Envoy accepts all of them.
	judged := func(expressions ...string) bool {
		t.Helper()
		took, rejected := answers()
		c.publish(matching(expressions))
		var now, no int
		envoytest.WaitFor(t, "Envoy to answer", func() bool {
			now, no = answers()
			return now > took || no > rejected
		})
		return no == rejected
	}
	if !judged(taken...) {
		for _, e := range taken {
			if !judged(e) {
				t.Errorf("Envoy rejects what is taken: %.200q", e)
			}
		}
	}
	for _, e := range []string{
		fmt.Sprintf("a{%d}{%d}", 10, 100) + strings.Repeat("a", regex.MaxProgram),
		`(?:abcdefghijkl){700}`,
	} {
		if regex.Check(e) == nil {
			t.Errorf("%.100q is above the limit, and taken", e)
		}
		// What Envoy accepts meanwhile is the version before, which is sent again after a rejection.
		_, rejected := answers()
		c.publish(matching([]string{e}))
		envoytest.WaitFor(t, fmt.Sprintf("Envoy to reject %.100q", e), func() bool {
			_, no := answers()
			return no > rejected
		})
	}
	t.Logf("Envoy judged %d expressions", len(taken))
}
