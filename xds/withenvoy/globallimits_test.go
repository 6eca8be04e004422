package withenvoy

import (
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"gatehouse/api/v1alpha1"
	"gatehouse/infra/envoytest"
)

// probed is a rule that denies requests with a header, so that tests see when limits are in use.
const probed = `
- {clientSelectors: [{headers: [{name: x-probe, value: a}]}], limit: {requests: 0, unit: Year}}`

var probe = sent{headers: []string{"x-probe", "a"}}

// TestGlobalLimits sends requests that rules count, by each condition that a rule can have.
func TestGlobalLimits(t *testing.T) {
	var made translated
	l := startLimited(t, true, made.route("a.example.com", nil))
	l.publishAll(l.limit("a.example.com", `global: {rules: [`+strings.Join([]string{
		`{clientSelectors: [{headers: [{name: x-plan, value: free}]}], limit: {requests: 2, unit: Year}}`,
		`{clientSelectors: [{headers: [{name: x-user, type: Distinct}]}], limit: {requests: 1, unit: Week}}`,
		`{clientSelectors: [{headers: [{name: x-agent, type: RegularExpression, value: "bot.*"}]}], limit: {requests: 1, unit: Year}}`,
		`{clientSelectors: [{methods: [{value: POST}, {value: PUT}]}], limit: {requests: 2, unit: Month}}`,
		`{clientSelectors: [{path: {value: /orders}}], limit: {requests: 1, unit: Year}}`,
		`{clientSelectors: [{headers: [{name: x-cidr, value: a}]}, {sourceCIDR: {value: 127.0.0.0/8, type: Distinct}}], limit: {requests: 1, unit: Year}}`,
		`{clientSelectors: [{headers: [{name: x-cidr, value: b}]}, {sourceCIDR: {value: 10.0.0.0/8}}], limit: {requests: 0, unit: Year}}`,
		`{clientSelectors: [{queryParams: [{name: size, value: large}]}], limit: {requests: 1, unit: Year}}`,
		`{clientSelectors: [{queryParams: [{name: shop, type: Distinct}]}], limit: {requests: 1, unit: Year}}`,
		`{clientSelectors: [{headers: [{name: x-cost, value: a}]}], limit: {requests: 5, unit: Year}, cost: {request: {from: Number, number: 2}}}`,
		`{clientSelectors: [{headers: [{name: x-shadow, value: a}]}], limit: {requests: 0, unit: Year}, shadowMode: true}`,
		`{clientSelectors: [{headers: [{name: x-off, value: a}]}], limit: {requests: 5, unit: Year}, xRateLimitHeaders: "Off"}`,
		`{clientSelectors: [{headers: [{name: x-late, value: a}]}], limit: {requests: 1, unit: Year},
			cost: {request: {from: Number, number: 0}, response: {from: Number, number: 2}}}`,
		`{clientSelectors: [{headers: [{name: x-probe, value: a}]}], limit: {requests: 0, unit: Year}}`,
	}, ", ")+`]}`))
	l.counts("a.example.com", probe)
	for _, tc := range []struct {
		what string
		sent
		want string
	}{
		{"a header", sent{headers: []string{"x-plan", "free"}}, "200 200 429"},
		{"another value", sent{headers: []string{"x-plan", "paid"}}, "200 200 200"},
		{"one user", sent{headers: []string{"x-user", "one"}}, "200 429 429"},
		{"another user", sent{headers: []string{"x-user", "two"}}, "200 429 429"},
		{"an expression", sent{headers: []string{"x-agent", "bot-1"}}, "200 429 429"},
		{"a method", sent{method: http.MethodPost}, "200 200 429"},
		{"the other method", sent{method: http.MethodPut}, "429 429 429"},
		{"a path", sent{path: "/orders/1?a=b"}, "200 429 429"},
		{"an address", sent{headers: []string{"x-cidr", "a"}}, "200 429 429"},
		{"an address outside", sent{headers: []string{"x-cidr", "b"}}, "200 200 200"},
		{"a parameter", sent{path: "/?size=large"}, "200 429 429"},
		{"a parameter's value", sent{path: "/?shop=a"}, "200 429 429"},
		{"another value of the parameter", sent{path: "/?shop=b"}, "200 429 429"},
		{"a cost", sent{headers: []string{"x-cost", "a"}}, "200 200 429"},
		{"shadow mode", sent{headers: []string{"x-shadow", "a"}}, "200 200 200"},
		{"no condition", sent{}, "200 200 200"},
	} {
		if got := l.codes("a.example.com", 3, tc.sent); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.what, got, tc.want)
		}
	}
	late := sent{headers: []string{"x-late", "a"}}
	if got := l.codes("a.example.com", 1, late); got != "200" {
		t.Errorf("a cost of responses denies the first request: %s", got)
	}
	l.counts("a.example.com", late)
	for header, told := range map[string]bool{"x-off": false, "x-cost": true} {
		response := l.send("a.example.com", sent{headers: []string{header, "a"}})
		if got := response.Header.Get("X-Ratelimit-Limit") != ""; got != told {
			t.Errorf("%s: the response tells of limits: %t, want %t", header, got, told)
		}
	}
}

// TestSharedLimits: a shared limit is one for all routes of a policy, another one is one for each of them.
func TestSharedLimits(t *testing.T) {
	var made translated
	l := startLimited(t, true, made.route("a.example.com", nil), made.route("b.example.com", nil))
	p := l.limit("a.example.com", `global: {rules: [
		{clientSelectors: [{headers: [{name: x-shared, value: a}]}], limit: {requests: 3, unit: Year}, shared: true},
		{clientSelectors: [{headers: [{name: x-own, value: a}]}], limit: {requests: 1, unit: Year}},
		{clientSelectors: [{headers: [{name: x-probe, value: a}]}], limit: {requests: 0, unit: Year}}]}`)
	p.Spec.TargetRefs = append(p.Spec.TargetRefs, p.Spec.TargetRefs[0])
	p.Spec.TargetRefs[1].Name = "b.example.com"
	l.publishAll(p)
	l.counts("a.example.com", probe)
	l.counts("b.example.com", probe)
	shared, own := sent{headers: []string{"x-shared", "a"}}, sent{headers: []string{"x-own", "a"}}
	got := fmt.Sprint(l.codes("a.example.com", 2, shared), ", ", l.codes("b.example.com", 2, shared), ", ",
		l.codes("a.example.com", 1, shared))
	if want := "200 200, 200 429, 429"; got != want {
		t.Errorf("shared: %s, want %s", got, want)
	}
	got = fmt.Sprint(l.codes("a.example.com", 2, own), ", ", l.codes("b.example.com", 2, own))
	if want := "200 429, 200 429"; got != want {
		t.Errorf("own: %s, want %s", got, want)
	}
}

// TestMergedLimits: limits of a policy on a route are added to those of the Gateway's policy that it is merged over, and
// what is shared has one counter for routes with and without such a policy.
func TestMergedLimits(t *testing.T) {
	var made translated
	l := startLimited(t, true, made.route("a.example.com", nil), made.route("b.example.com", nil))
	all := l.limit("web", `global: {rules: [
		{clientSelectors: [{headers: [{name: x-shared, value: a}]}], limit: {requests: 3, unit: Year}, shared: true},
		{clientSelectors: [{headers: [{name: x-own, value: a}]}], limit: {requests: 1, unit: Year}},
		{clientSelectors: [{headers: [{name: x-probe, value: a}]}], limit: {requests: 0, unit: Year}}]}`)
	all.Spec.TargetRefs[0].Kind = "Gateway"
	more := l.limit("a.example.com", `global: {rules: [
		{clientSelectors: [{headers: [{name: x-more, value: a}]}], limit: {requests: 1, unit: Year}},
		{clientSelectors: [{headers: [{name: x-late, value: a}]}], limit: {requests: 0, unit: Year}}]}`)
	more.Spec.MergeType = new(v1alpha1.StrategicMerge)
	l.publishAll(all, more)
	l.counts("b.example.com", probe)
	l.counts("a.example.com", probe)
	l.counts("a.example.com", sent{headers: []string{"x-late", "a"}})
	shared, own, added := sent{headers: []string{"x-shared", "a"}}, sent{headers: []string{"x-own", "a"}}, sent{headers: []string{"x-more", "a"}}
	got := fmt.Sprint(l.codes("a.example.com", 2, shared), ", ", l.codes("b.example.com", 2, shared), ", ", l.codes("a.example.com", 1, shared))
	if want := "200 200, 200 429, 429"; got != want {
		t.Errorf("shared: %s, want %s", got, want)
	}
	got = fmt.Sprint(l.codes("a.example.com", 2, own), ", ", l.codes("b.example.com", 2, own))
	if want := "200 429, 200 429"; got != want {
		t.Errorf("own: %s, want %s", got, want)
	}
	got = fmt.Sprint(l.codes("a.example.com", 2, added), ", ", l.codes("b.example.com", 2, added))
	if want := "200 429, 200 200"; got != want {
		t.Errorf("added: %s, want %s", got, want)
	}
}

// TestCountersOfEnvoysAddUp: two Envoys of a Gateway serve as many requests together as the limit says. They listen on the
// same port, and the kernel shares connections out among them.
func TestCountersOfEnvoysAddUp(t *testing.T) {
	var made translated
	l := startLimited(t, true, made.route("a.example.com", nil))
	l.publishAll(l.limit("a.example.com", `global: {rules: [
		{clientSelectors: [{headers: [{name: x-counted, value: a}]}], limit: {requests: 20, unit: Year}},
		{clientSelectors: [{headers: [{name: x-probe, value: a}]}], limit: {requests: 0, unit: Year}}]}`))
	l.counts("a.example.com", probe)
	second := l.config
	for _, port := range []string{"19000", "19001", "19003"} {
		second = strings.ReplaceAll(second, port, "2"+port[1:])
	}
	envoytest.Start(t, second, "--service-cluster", fleetName, "--service-node", "web-2", "--service-zone", ownZone)
	served := func(admin int) string {
		_, body := envoytest.Get(admin, "/stats?filter=ratelimit.*(ok|over_limit)$")
		return body
	}
	envoytest.WaitFor(t, "the second Envoy to serve", func() bool {
		l.send("a.example.com", probe)
		return strings.Contains(served(29000), "over_limit: ")
	})
	counted := sent{headers: []string{"x-counted", "a"}}
	codes := map[int]int{}
	for range 40 {
		codes[l.send("a.example.com", counted).StatusCode]++
	}
	if codes[200] != 20 || codes[429] != 20 {
		t.Errorf("of 40 requests to two Envoys with a limit of 20: %v", codes)
	}
	for _, admin := range []int{19000, 29000} {
		if body := served(admin); !strings.Contains(body, ".ok: ") {
			t.Errorf("the Envoy with port %d served no request: %s", admin, body)
		}
	}
}

// TestRedisFails: what happens to requests while Redis is full, slow and gone, and after it is back.
func TestRedisFails(t *testing.T) {
	for name, tc := range map[string]struct {
		failClosed bool
		want       string
	}{"open": {false, "200"}, "closed": {true, "500"}} {
		t.Run(name, func(t *testing.T) {
			var made translated
			l := startLimited(t, tc.failClosed, made.route("a.example.com", nil), made.route("b.example.com", nil))
			l.publishAll(l.limit("a.example.com", "global: {rules: ["+strings.TrimPrefix(probed, "\n- ")+"]}"))
			l.counts("a.example.com", probe)
			fails := func(what string) {
				t.Helper()
				if got := l.codes("a.example.com", 1, probe); got != tc.want {
					t.Errorf("while Redis is %s: %s, want %s", what, got, tc.want)
				}
				if got := l.codes("b.example.com", 1, probe); got != "200" {
					t.Errorf("a route without limits answers %s while Redis is %s", got, what)
				}
			}
			l.redis.want("+OK", "CONFIG", "SET", "maxmemory", "1")
			fails("full")
			l.redis.want("+OK", "CONFIG", "SET", "maxmemory", "0")
			l.counts("a.example.com", probe)

			l.redis.want("+OK", "CLIENT", "PAUSE", "4000", "ALL")
			begin := time.Now()
			fails("slow")
			if took := time.Since(begin); took > 3*time.Second {
				t.Errorf("a request waited %v for a slow Redis", took)
			}
			l.counts("a.example.com", probe)

			if err := l.redis.cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			envoytest.WaitFor(t, "Redis to be gone", func() bool { return l.redis.tell("PING") != "+PONG" })
			fails("gone")
			binary, err := exec.LookPath("redis-server")
			if err != nil {
				t.Fatal(err)
			}
			l.redis.start(binary)
			l.counts("a.example.com", probe)
		})
	}
}
