package withenvoy

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/crdtest"
	"gatehouse/api/v1alpha1"
	"gatehouse/infra/bootstrap"
	"gatehouse/infra/envoytest"
	"gatehouse/policies/retrybudget"
	"gatehouse/policies/rules"
	"gatehouse/translator"
	"gatehouse/translator/heavy"
)

const (
	servedClass = "gateway.envoyproxy.io/gatewayclass-controller"
	// maxGrowth is the memory of an Envoy that one object may take, in bytes.
	maxGrowth = 64 << 20
)

// allocated is the memory that Envoy has allocated, in bytes.
func (c *controlled) allocated() int64 {
	c.t.Helper()
	code, body := envoytest.Get(bootstrap.AdminPort, "/memory")
	var memory struct{ Allocated string }
	if code != http.StatusOK || json.Unmarshal([]byte(body), &memory) != nil {
		c.t.Fatalf("Envoy's memory: %d %s", code, body)
	}
	n, err := strconv.ParseInt(memory.Allocated, 10, 64)
	if err != nil {
		c.t.Fatal(err)
	}
	return n
}

// loaded is an Envoy with the listeners of a Gateway and a light route, and the tables that its resources come from.
type loaded struct {
	*controlled
	world *translator.World
	// listeners is the number of listeners, idle the memory that Envoy has allocated so far.
	listeners int
	idle      int64
}

// costSettings enable all kinds, so that objects of each kind have their cost.
var costSettings = translator.Settings{
	ControllerName: servedClass, EnabledKinds: []string{retrybudget.Kind, v1alpha1.KindBackend},
}

// serveHeavy starts a Gateway with that many listeners.
func serveHeavy(t *testing.T, listeners int) *loaded {
	t.Helper()
	engine, err := rules.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	l := &loaded{listeners: listeners, controlled: start(t), world: translator.NewWorld(translator.NewTables(costSettings,
		engine))}
	class, gateway, service, light := heavy.Around(servedClass, listeners)
	secret, authority, err := heavy.Credentials()
	if err != nil {
		t.Fatal(err)
	}
	l.apply(class, gateway, service, light, secret, authority)
	l.quiet()
	l.idle = l.allocated()
	return l
}

func (l *loaded) apply(objects ...translator.Object) {
	l.t.Helper()
	var events []translator.Event
	for _, o := range objects {
		events = append(events, translator.Event{Object: o})
	}
	outcome, err := l.world.Apply(events)
	if err != nil {
		l.t.Fatal(err)
	}
	for _, d := range outcome.Deltas {
		l.change(d.Changed, d.Removed)
	}
}

// answers is the status of the response for a host; 404 if there is no route.
func (l *loaded) answers(port int, host string) int {
	l.t.Helper()
	request, err := http.NewRequestWithContext(l.t.Context(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/", port),
		nil)
	if err != nil {
		l.t.Fatal(err)
	}
	request.Host = host
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return http.StatusNotFound
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// wantGrowth stores a scene and compares the memory that Envoy takes for it with the limit for one object.
func (l *loaded) wantGrowth(s heavy.Scene) {
	l.t.Helper()
	objects := []translator.Object{heavy.Light("marker")}
	for _, o := range s.Objects() {
		objects = append(objects, o)
	}
	l.apply(objects...) // Together, so that Envoy does not get the route twice.
	for i := range l.listeners {
		envoytest.WaitFor(l.t, "the marker to be served", func() bool {
			return l.answers(heavy.FirstPort+i,
				"marker.example.com") != http.StatusNotFound
		})
	}
	l.grown(maxGrowth)
}

// grown compares the memory that Envoy has taken with the maximum.
func (l *loaded) grown(most int64) {
	l.t.Helper()
	l.quiet()
	growth := l.allocated() - l.idle
	l.t.Logf("Envoy grew by %d KiB", growth>>10)
	if growth > most {
		l.t.Errorf("Envoy grew by %d MiB", growth>>20)
	}
	p, _ := l.reported()
	for name, words := range p.Rejected {
		l.t.Errorf("Envoy rejected %v: %.300s", name, words)
	}
}

// refused reports whether a route is rejected on a Gateway with that many listeners.
func refused(t *testing.T, s heavy.Scene, listeners int) bool {
	t.Helper()
	engine, err := rules.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	world := translator.NewWorld(translator.NewTables(costSettings, engine))
	class, gateway, service, light := heavy.Around(servedClass, listeners)
	events := []translator.Event{{Object: class}, {Object: gateway}, {Object: service}, {Object: light}}
	for _, p := range s.Policies() {
		events = append(events, translator.Event{Object: p})
	}
	if _, err := world.Apply(events); err != nil {
		t.Fatal(err)
	}
	findings, err := world.Try(t.Context(), s.Route)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range findings {
		if strings.Contains(f.Problem.Message, "of each Envoy") {
			return true
		}
	}
	return false
}

// contents are heavy in one way each; all are accepted on at least one listener.
var contents = map[string]heavy.Content{
	"nothing": {Rules: 16, Matches: 8, Hosts: 4},
	"header matches": {Rules: 4, Matches: 4, Hosts: 4, Match: func(_ int, m *gwapiv1.HTTPRouteMatch) {
		heavy.Expressions(m, 16, "a", "")
	}},
	"usual expressions": {Rules: 4, Matches: 4, Hosts: 4, Match: func(_ int, m *gwapiv1.HTTPRouteMatch) {
		heavy.Expressions(m, 16, "/v[0-9]+/[a-z-]+/.*", "[^/]+")
	}},
	"large expressions": {Rules: 2, Matches: 4, Hosts: 1, Match: func(_ int, m *gwapiv1.HTTPRouteMatch) {
		heavy.Expressions(m, 4, strings.Repeat("abcdefghijklmnopqrstuvwxyz0123456789", 110), "")
	}},
	"repeated expressions": {Rules: 2, Matches: 4, Hosts: 1, Match: func(_ int, m *gwapiv1.HTTPRouteMatch) {
		heavy.Expressions(m, 4, "(?:"+strings.Repeat("abcdefghij", 10)+"){70}", "(?:[a-z]+[0-9]?){500}")
	}},
	"names in preflights": {Rules: 2, Matches: 4, Hosts: 2, Match: func(_ int, m *gwapiv1.HTTPRouteMatch) {
		for i := range 8 {
			m.Headers = append(m.Headers, gwapiv1.HTTPHeaderMatch{Name: gwapiv1.HTTPHeaderName(fmt.Sprintf("x-%d-%s", i,
				strings.Repeat("n", 100))), Value: "v"})
		}
	}, Rule: func(_ int, r *gwapiv1.HTTPRouteRule) { r.Filters = []gwapiv1.HTTPRouteFilter{heavy.CORS()} }},
	"escapes in paths": {Rules: 2, Matches: 8, Hosts: 4, Match: func(i int, m *gwapiv1.HTTPRouteMatch) {
		m.Path.Value = new(fmt.Sprintf("/%d%s", i, strings.Repeat("/%C3%BC%C3%BC", 70)))
	}},
	"headers": {Rules: 4, Matches: 4, Hosts: 4, Rule: func(_ int, r *gwapiv1.HTTPRouteRule) {
		r.Filters = []gwapiv1.HTTPRouteFilter{heavy.Headers(16, 1)}
	}},
	"long headers": {Rules: 1, Matches: 4, Hosts: 4, Rule: func(_ int, r *gwapiv1.HTTPRouteRule) {
		r.Filters = []gwapiv1.HTTPRouteFilter{heavy.Headers(16, 4000)}
	}},
	"headers of backends": {Rules: 1, Matches: 4, Hosts: 4, Rule: func(_ int, r *gwapiv1.HTTPRouteRule) {
		r.Filters, r.BackendRefs = []gwapiv1.HTTPRouteFilter{heavy.Headers(4, 1)}, heavy.Backends(16)
		for i := range r.BackendRefs {
			r.BackendRefs[i].Filters = []gwapiv1.HTTPRouteFilter{heavy.Headers(4, 1)}
		}
	}},
	"redirects by hand": {Rules: 16, Matches: 8, Hosts: 8, Wild: true, Rule: func(_ int, r *gwapiv1.HTTPRouteRule) {
		r.Filters, r.BackendRefs = []gwapiv1.HTTPRouteFilter{heavy.Redirect(gwapiv1.FullPathHTTPPathModifier,
			"/"+strings.Repeat("a", 30))}, nil
	}},
	"long redirects by hand": {Rules: 16, Matches: 8, Hosts: 8, Wild: true, Rule: func(_ int, r *gwapiv1.HTTPRouteRule) {
		r.Filters, r.BackendRefs = []gwapiv1.HTTPRouteFilter{heavy.Redirect(gwapiv1.FullPathHTTPPathModifier,
			"/"+strings.Repeat("a", 1000))}, nil
	}},
	"prefixes of redirects by hand": {
		Rules: 2, Matches: 4, Hosts: 4, Wild: true,
		Match: func(i int, m *gwapiv1.HTTPRouteMatch) {
			m.Path.Value = new(fmt.Sprintf("/%d/%s", i, strings.Repeat("abcdefghij", 100)))
		}, Rule: func(_ int, r *gwapiv1.HTTPRouteRule) {
			r.Filters, r.BackendRefs = []gwapiv1.HTTPRouteFilter{heavy.Redirect(gwapiv1.PrefixMatchHTTPPathModifier, "/")}, nil
		},
	},
	"hosts of backends": {Rules: 4, Matches: 4, Hosts: 4, Rule: func(_ int, r *gwapiv1.HTTPRouteRule) {
		r.BackendRefs = heavy.Backends(16)
		for i := range r.BackendRefs {
			r.BackendRefs[i].Filters = []gwapiv1.HTTPRouteFilter{heavy.Host(strings.Repeat("long.", 40) + "example.com")}
		}
	}},
	"host of a rule in its backends": {Rules: 4, Matches: 4, Hosts: 4, Rule: func(_ int, r *gwapiv1.HTTPRouteRule) {
		r.Filters, r.BackendRefs = []gwapiv1.HTTPRouteFilter{heavy.Host(strings.Repeat("long.", 40) + "example.com")},
			heavy.Backends(16)
		for i := range r.BackendRefs {
			r.BackendRefs[i].Filters = []gwapiv1.HTTPRouteFilter{{
				Type:                  gwapiv1.HTTPRouteFilterRequestHeaderModifier,
				RequestHeaderModifier: &gwapiv1.HTTPHeaderFilter{Remove: []string{"x"}},
			}}
		}
		r.BackendRefs[0].Filters = []gwapiv1.HTTPRouteFilter{heavy.Host("a.example.com")}
	}},
	"paths of backends": {Rules: 4, Matches: 4, Hosts: 2, Rule: func(_ int, r *gwapiv1.HTTPRouteRule) {
		r.Filters, r.BackendRefs = []gwapiv1.HTTPRouteFilter{heavy.Headers(4, 100)}, heavy.Backends(16)
		for i := range r.BackendRefs {
			r.BackendRefs[i].Filters = []gwapiv1.HTTPRouteFilter{heavy.Path(gwapiv1.FullPathHTTPPathModifier,
				"/"+strings.Repeat("a", 1000))}
		}
	}},
	"prefixes of backends": {Rules: 1, Matches: 4, Hosts: 2, Match: func(i int, m *gwapiv1.HTTPRouteMatch) {
		m.Path.Value = new(fmt.Sprintf("/%d/%s", i, strings.Repeat("abcdefghij", 100)))
	}, Rule: func(_ int, r *gwapiv1.HTTPRouteRule) {
		r.BackendRefs = heavy.Backends(4)
		r.BackendRefs[0].Filters = []gwapiv1.HTTPRouteFilter{heavy.Path(gwapiv1.PrefixMatchHTTPPathModifier, "/")}
		r.BackendRefs[1].Filters = []gwapiv1.HTTPRouteFilter{heavy.Path(gwapiv1.PrefixMatchHTTPPathModifier, "/")}
	}},
	"sessions": {Rules: 16, Matches: 8, Hosts: 4, Rule: func(_ int, r *gwapiv1.HTTPRouteRule) {
		r.SessionPersistence = cookieSession("n")
	}},
	"long sessions": {Rules: 4, Matches: 4, Hosts: 4, Rule: func(_ int, r *gwapiv1.HTTPRouteRule) {
		r.SessionPersistence = cookieSession(gwapiv1.CookieName(strings.Repeat("n", 256)))
		r.SessionPersistence.Cookie.Path = new("/" + strings.Repeat("p", 1000))
	}, Match: func(i int, m *gwapiv1.HTTPRouteMatch) {
		m.Path.Value = new(fmt.Sprintf("/%s/%d", strings.Repeat("p", 1000), i))
	}},
	"codes of retries": {Rules: 16, Matches: 8, Hosts: 8, Rule: func(_ int,
		r *gwapiv1.HTTPRouteRule,
	) {
		r.Retry = heavy.Retry()
	}},
	"few backends": {Rules: 16, Matches: 1, Hosts: 1, Rule: func(i int,
		r *gwapiv1.HTTPRouteRule,
	) {
		r.BackendRefs = heavy.OwnBackends(i, 1)
	}},
	"many backends": {Rules: 16, Matches: 1, Hosts: 1, Rule: func(i int,
		r *gwapiv1.HTTPRouteRule,
	) {
		r.BackendRefs = heavy.OwnBackends(i, 16)
	}},
	"many mirrors": {Rules: 16, Matches: 1, Hosts: 1, Rule: func(i int, r *gwapiv1.HTTPRouteRule) {
		r.BackendRefs = heavy.OwnBackends(i, 16)
		for m := range 15 {
			r.Filters = append(r.Filters, heavy.Mirror(257+i*15+m))
		}
	}},
	"client ranges":       {Rules: 1, Matches: 4, Hosts: 4, Policy: heavy.Ranges(1, 1000)},
	"rules of a policy":   {Rules: 1, Matches: 4, Hosts: 4, Policy: heavy.Ranges(64, 1)},
	"patterns of origins": {Rules: 1, Matches: 4, Hosts: 4, Policy: heavy.Origins(10)},
	"statistics": {Rules: 4, Matches: 4, Hosts: 4, Rule: func(i int, r *gwapiv1.HTTPRouteRule) {
		r.Name = new(gwapiv1.SectionName(fmt.Sprintf("r%d", i)))
	}, Traffic: &v1alpha1.BackendTrafficPolicySpec{Telemetry: &v1alpha1.BackendTelemetry{Metrics: &v1alpha1.BackendMetrics{
		RouteStatName: new("%ROUTE_NAMESPACE%/%ROUTE_NAME%/%ROUTE_RULE_NAME%/" + strings.Repeat("n", 200)),
	}}}},
}

// TestEnvoyTakesLessThanEstimated: on the largest number of listeners on which a route is accepted, it takes less
// memory of a real Envoy than one object may.
func TestEnvoyTakesLessThanEstimated(t *testing.T) {
	for name, content := range contents {
		t.Run(name, func(t *testing.T) {
			s, listeners := heavy.Make(content), 1
			if refused(t, s, 1) {
				t.Fatal("it is refused on one listener")
			}
			for listeners < heavy.Listeners && !refused(t, s, listeners+1) {
				listeners++
			}
			t.Logf("%d listeners", listeners)
			serveHeavy(t, listeners).wantGrowth(s)
		})
	}
}

// TestEnvoyTakesLittleOfWhatIsRefused: a rejected route that is stored anyway takes no more.
func TestEnvoyTakesLittleOfWhatIsRefused(t *testing.T) {
	for name, content := range map[string]heavy.Content{
		"expressions": {Rules: 1, Matches: 8, Hosts: 4, Match: func(_ int, m *gwapiv1.HTTPRouteMatch) {
			heavy.Expressions(m, 16, "(?:"+strings.Repeat("abcdefghij", 10)+"){70}", "")
		}},
		"matches": {Rules: 2, Matches: 64, Hosts: 16},
	} {
		t.Run(name, func(t *testing.T) {
			s := heavy.Make(content)
			if !refused(t, s, heavy.Listeners) {
				t.Fatal("it is not refused")
			}
			serveHeavy(t, heavy.Listeners).wantGrowth(s)
		})
	}
}

// TestEnvoyTakesLittleOfFilters: a route on all its possible hosts takes no more behind the heaviest filters of
// listeners, whether there is room for them or not.
func TestEnvoyTakesLittleOfFilters(t *testing.T) {
	for _, c := range []struct{ listeners, names, length int }{{1, 64, 40}, {2, 64, 20}, {8, 64, 40}, {2, 64, 350}} {
		t.Run(fmt.Sprintf("%d listeners, %d bytes", c.listeners, c.length), func(t *testing.T) {
			l := serveHeavy(t, c.listeners)
			_, gateway, _, _ := heavy.Around(servedClass, c.listeners)
			heavy.Filtered(gateway, c.names, c.length)
			l.apply(gateway)
			l.quiet()
			l.idle = l.allocated()
			l.wantGrowth(heavy.Make(heavy.Content{Rules: 1, Hosts: heavy.Hosts}))
		})
	}
}

// FuzzEnvoyCost checks that no object within the API server's limits takes more memory of a real Envoy than one object
// may, rejected or not.
func FuzzEnvoyCost(f *testing.F) {
	for seed := range uint64(6) {
		f.Add(seed, uint8(seed*13))
	}
	f.Fuzz(func(t *testing.T, seed uint64, listeners uint8) {
		alone(t)
		r, l := rand.New(rand.NewPCG(seed, 4)), serveHeavy(t, 1+int(listeners)%heavy.Listeners)
		if seed%3 == 0 {
			l.wantGrowth(heavy.Random(r))
			return
		}
		made, err := crdtest.Costly(r, types.NamespacedName{Namespace: heavy.Namespace, Name: heavy.Gateway}, heavy.Words,
			heavy.Texts)
		if err != nil {
			t.Fatal(err)
		}
		if len(made) == 0 {
			t.Skip("no object was made that the API server takes")
		}
		var objects []translator.Object
		for _, o := range made {
			objects = append(objects, o)
		}
		l.apply(objects...)
		l.grown(int64(len(objects)) * maxGrowth)
	})
}

// alone waits for the other processes of a fuzzer, because all of them use the same ports of Envoy.
func alone(t *testing.T) {
	t.Helper()
	lock, err := os.OpenFile(filepath.Join(os.TempDir(), "gatehouse-envoy-cost.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lock.Close() }) // This releases the lock.
}
