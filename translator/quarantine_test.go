package translator

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// quarantined is a world in which Envoy rejects some parts.
type quarantined struct {
	*World
	t      *testing.T
	latest map[Name]*Resource
	status map[string]*Status
	guilty map[string]string
}

func newQuarantined(t *testing.T, routes int) *quarantined {
	q := &quarantined{
		World: newWorld(t), t: t, latest: map[Name]*Resource{}, status: map[string]*Status{},
		guilty: map[string]string{},
	}
	q.take(benchEvents(routes)...)
	return q
}

func (q *quarantined) take(events ...Event) {
	q.t.Helper()
	outcome, err := q.Apply(events)
	if err != nil {
		q.t.Fatal(err)
	}
	for _, s := range outcome.Statuses {
		q.status[keyOf(s.Object)] = s
	}
	for _, d := range outcome.Deltas {
		for _, r := range d.Changed {
			q.latest[Name{r.Type, r.Name}] = r
		}
		for _, n := range d.Removed {
			delete(q.latest, n)
		}
	}
}

// refuse lets an Envoy of the fleet refuse a part.
func (q *quarantined) refuse(hash string) {
	q.t.Helper()
	q.guilty = maps.Clone(q.guilty)
	q.guilty[hash] = "it does not please"
	q.take(Event{Proxy: &Proxy{Fleet: "n/g", Node: "x", Guilty: q.guilty}})
}

// route finds a route of the port's route configuration by a part of its name.
func (q *quarantined) route(name string) (*routev3.Route, string) {
	q.t.Helper()
	for _, p := range q.latest[Name{typeRoutes, "n/g/http"}].Parts() {
		if strings.Contains(p.Name, name) {
			route := &routev3.Route{}
			if err := proto.Unmarshal(p.body, route); err != nil {
				q.t.Fatal(err)
			}
			return route, p.Hash
		}
	}
	return nil, ""
}

func (q *quarantined) wantProblem(object, field string) {
	q.t.Helper()
	for _, p := range q.status[object].Problems {
		if p.Field == field && strings.Contains(p.Message, "it does not please") {
			return
		}
	}
	q.t.Errorf("%s does not say at %s what Envoy said: %v", object, field, q.status[object].Problems)
}

// TestRefusedRouteAnswers500: the rule of a refused route answers 500 and says why, its neighbours go on, and it is
// tried again when it changes.
func TestRejectedRouteAnswers500(t *testing.T) {
	q := newQuarantined(t, 3)
	_, hash := q.route("r1/")
	q.refuse(hash)
	if route, _ := q.route("r1/"); route.GetDirectResponse().GetStatus() != 500 {
		t.Errorf("the refused route does %v", route.GetAction())
	}
	if route, _ := q.route("r2/"); route.GetRoute().GetCluster() == "" {
		t.Errorf("a neighbour does %v", route.GetAction())
	}
	q.wantProblem("n/r1", "spec.rules[0]")

	_, hash = q.route("r1/") // The 500 is refused too, so it is the match.
	q.refuse(hash)
	if route, _ := q.route("r1/"); route != nil {
		t.Errorf("a route whose match is refused is sent: %v", route)
	}
	q.wantProblem("n/r1", "spec.rules[0]")

	q.take(Event{Object: benchRoute(1, 2)})
	if route, _ := q.route("r1/"); route.GetRoute().GetCluster() == "" || len(q.status["n/r1"].Problems) > 0 {
		t.Errorf("the changed route does %v and says %v", route.GetAction(), q.status["n/r1"].Problems)
	}
}

// TestRouteOfManyRefusedRulesFailsAsAWhole: once Envoy has refused some rules of a route, the others are not tried.
func TestRouteOfManyRejectedRulesFailsAsAWhole(t *testing.T) {
	q := newQuarantined(t, 2)
	many := benchRoute(1, 2)
	for i := range 5 {
		rule := *many.Spec.Rules[0].DeepCopy()
		rule.Matches = []gwapiv1.HTTPRouteMatch{{Path: &gwapiv1.HTTPPathMatch{
			Type:  ptr(gwapiv1.PathMatchPathPrefix),
			Value: ptr(fmt.Sprint("/", i)),
		}}}
		many.Spec.Rules = append(many.Spec.Rules, rule)
	}
	q.take(Event{Object: many})
	forwards := func() (rules []int) {
		for i := range many.Spec.Rules {
			if route, _ := q.route(fmt.Sprintf("r1/rule/%d/", i)); route.GetRoute() != nil {
				rules = append(rules, i)
			}
		}
		return rules
	}
	for _, c := range []struct {
		refused int
		want    []int
	}{{0, []int{1, 2, 3, 4, 5}}, {2, []int{1, 3, 4, 5}}, {5, nil}} {
		_, hash := q.route(fmt.Sprintf("r1/rule/%d/", c.refused))
		q.refuse(hash)
		if got := forwards(); !slices.Equal(got, c.want) {
			t.Errorf("after rule %d was refused, rules %v forward, want %v", c.refused, got, c.want)
		}
	}
	if problems := q.status["n/r1"].Problems; len(problems) != 6 ||
		!strings.Contains(problems[1].Message, "Envoy rejected 3 rules of the route") {
		t.Errorf("the route says %v", problems)
	}
	if route, _ := q.route("r0/"); route.GetRoute() == nil {
		t.Errorf("a neighbour does %v", route.GetAction())
	}
	q.take(Event{Object: benchRoute(1, 3)})
	if got := forwards(); !slices.Equal(got, []int{0}) {
		t.Errorf("of the changed route rules %v forward", got)
	}
}

// TestRefusedClusterAnswers500: what uses a refused cluster answers 500, and the cluster is not sent.
func TestRejectedClusterAnswers500(t *testing.T) {
	q := newQuarantined(t, 3)
	name := Name{typeCluster, "service/n/s1/80"}
	q.refuse(q.latest[name].Version)
	if route, _ := q.route("r1/"); route.GetDirectResponse().GetStatus() != 500 || q.latest[name] != nil {
		t.Errorf("the route does %v; the cluster is %v", route.GetAction(), q.latest[name])
	}
	q.wantProblem("n/r1", "spec.rules[0]")
	if _, ok := q.latest[Name{typeCluster, "service/n/s2/80"}]; !ok {
		t.Error("another cluster went too")
	}
}

// TestRefusedAuthorizerAnswers500: without its authorization server a rule lets nothing through.
func TestRejectedAuthorizerAnswers500(t *testing.T) {
	q := newQuarantined(t, 3)
	guarded, listener := benchRoute(1, 2), q.latest[Name{typeListener, "n/g/http"}]
	filter := gwapiv1.HTTPRouteFilter{
		Type: gwapiv1.HTTPRouteFilterExternalAuth,
		ExternalAuth: &gwapiv1.HTTPExternalAuthFilter{
			ExternalAuthProtocol: gwapiv1.HTTPRouteExternalAuthHTTPProtocol, HTTPAuthConfig: &gwapiv1.HTTPAuthConfig{},
		},
	}
	filter.ExternalAuth.BackendRef.Name, filter.ExternalAuth.BackendRef.Port = "s2", ptr[int32](80)
	guarded.Spec.Rules[0].Filters = append(guarded.Spec.Rules[0].Filters, filter)
	q.take(Event{Object: guarded})
	if route, _ := q.route("r1/"); route.GetRoute() == nil ||
		route.TypedPerFilterConfig["envoy.filters.http.composite/ext_authz"] == nil {
		t.Fatalf("the rule is not guarded: %v", route)
	}
	if q.latest[Name{typeListener, "n/g/http"}] != listener {
		t.Error("the listener changed, which drains it")
	}
	q.refuse(q.latest[Name{typeCluster, "service/n/s2/80"}].Version)
	if route, _ := q.route("r1/"); route.GetDirectResponse().GetStatus() != 500 {
		t.Errorf("the route does %v", route.GetAction())
	}
	q.wantProblem("n/r1", "spec.rules[0]")
}

// TestRefusedListenerIsWithheld: of a port's listeners the refused one goes, and says why.
func TestRejectedListenerIsWithheld(t *testing.T) {
	q := newQuarantined(t, 1)
	name := Name{typeListener, "n/g/https"}
	parts := q.latest[name].Parts()
	if len(parts) != 1 || parts[0].Name != "n/g/https" {
		t.Fatalf("parts: %v", parts)
	}
	q.refuse(parts[0].Hash)
	if q.latest[name] != nil {
		t.Error("the listener is still sent")
	}
	q.wantProblem("n/g", "spec.listeners[1]")
	if _, ok := q.latest[Name{typeListener, "n/g/http"}]; !ok {
		t.Error("the other port went too")
	}
	plain := q.latest[Name{typeListener, "n/g/http"}].Parts()
	q.refuse(plain[0].Hash)
	q.wantProblem("n/g", "spec.listeners[0]")
}

// TestRefusedCertificateIsBroken: a certificate that only Envoy rejects is like a broken one.
func TestRejectedCertificateIsBroken(t *testing.T) {
	q := newQuarantined(t, 1)
	name := Name{typeSecret, "n/tls"}
	q.refuse(q.latest[name].Version)
	if q.latest[name] != nil {
		t.Error("the certificate is still sent")
	}
	q.wantProblem("n/g", "spec.listeners[1].tls.certificateRefs[0]")
	q.take(Event{Object: benchSecret(1)})
	if q.latest[name] == nil || len(q.status["n/g"].Problems) > 0 {
		t.Errorf("a renewed certificate is not tried: %v", q.status["n/g"].Problems)
	}
}

// TestTrim: what is not kept is replaced by the old part of the same name, or left out with a virtual host that has
// nothing else.
func TestTrim(t *testing.T) {
	q := newQuarantined(t, 3)
	name := Name{typeRoutes, "n/g/http"}
	old := q.latest[name]
	q.take(Event{Object: benchRoute(1, 2)}, Event{Object: benchRoute(7, 1)})
	raw := q.latest[name]
	names := func(r *Resource) (list []string) {
		config := &routev3.RouteConfiguration{}
		if err := proto.Unmarshal(r.Body(), config); err != nil {
			t.Fatal(err)
		}
		for _, host := range config.VirtualHosts {
			for _, route := range host.Routes {
				list = append(list, host.Domains[0]+" "+route.GetMatch().GetPathSeparatedPrefix())
			}
		}
		return list
	}
	known := map[string]bool{}
	for _, p := range old.Parts() {
		known[p.Hash] = true
	}
	isKnown := func(hash string) bool { return known[hash] }
	if got, want := names(raw.Trim(isKnown, old)), []string{
		"r0.example.com /v1", "r1.example.com /v1",
		"r2.example.com /v1",
	}; !slices.Equal(got, want) {
		t.Errorf("with the old parts: %v, want %v", got, want)
	}
	if got, want := names(raw.Trim(isKnown, nil)), []string{"r0.example.com /v1", "r2.example.com /v1"}; !slices.Equal(got,
		want) {
		t.Errorf("without them: %v, want %v", got, want)
	}
	all := func(string) bool { return true }
	if raw.Trim(all, old) != raw {
		t.Error("keeping everything makes another resource")
	}
	none := func(string) bool { return false }
	if got := raw.Trim(none, nil); got == nil || len(names(got)) != 0 {
		t.Errorf("a route configuration without routes is %v", got)
	}
	if got := q.latest[Name{typeListener, "n/g/http"}].Trim(none, nil); got != nil {
		t.Errorf("a listener without filter chains is %v", got)
	}
}
