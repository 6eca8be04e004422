package audit

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	rulesv1alpha1 "gatehouse/api/rules/v1alpha1"
	"gatehouse/api/v1alpha1"
	"gatehouse/controller/kube"
	"gatehouse/infra/kubetest"
	"gatehouse/policies/admissionrule"
	"gatehouse/policies/effective"
	"gatehouse/policies/rules"
	"gatehouse/policies/verdict"
	"gatehouse/translator"
	"gatehouse/webhook"
)

var server kubetest.Server

func TestMain(m *testing.M) {
	const crds = "manifests/gatehouse-crds/files/"
	kubetest.Run(m, &server, "bin/gateway-api-crds.yaml", crds+"gatehouse.dev_admissionrules.yaml",
		crds+"gatehouse.dev_admissionexceptions.yaml", crds+"gateway.envoyproxy.io_securitypolicies.yaml")
}

const controllerName = "gateway.envoyproxy.io/gatewayclass-controller"

// office is an auditor with real tables. Its time stands still, and it works only when it is told to.
type office struct {
	*Auditor
	t       testing.TB
	world   *translator.World
	now     time.Time
	changed map[string]bool
	metrics *prometheus.Registry
	// versions counts the versions of all objects.
	versions int64
}

func newOffice(t testing.TB, o Options) *office {
	t.Helper()
	engine, err := rules.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	f := &office{
		t: t, world: translator.NewWorld(translator.NewTables(translator.Settings{ControllerName: controllerName}, engine)),
		now: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC), changed: map[string]bool{},
		metrics: prometheus.NewRegistry(),
	}
	o.Metrics = f.metrics
	o.Tables, o.Scheme, o.Log = f.world, kube.NewScheme(), logr.Discard()
	o.Params = webhook.NewRuleBook(webhook.RuleOptions{Live: o.Live}).Params
	o.Known = func(context.Context) bool { return true }
	o.Changed = func(rule string) { f.changed[rule] = true }
	o.Now = func() time.Time { return f.now }
	f.Auditor = New(o)
	return f
}

// apply has the tables take events, as the controller does.
func (f *office) apply(events ...translator.Event) {
	f.t.Helper()
	for _, e := range events {
		f.versions++
		e.Object.(metav1.Object).SetResourceVersion(fmt.Sprint(f.versions))
	}
	outcome, err := f.world.Apply(events)
	if err != nil {
		f.t.Fatal(err)
	}
	f.Applied(events, outcome.Touched)
}

func (f *office) store(objects ...translator.Object) {
	f.t.Helper()
	var events []translator.Event
	for _, o := range objects {
		events = append(events, translator.Event{Object: o})
	}
	f.apply(events...)
}

func (f *office) remove(o translator.Object) {
	f.t.Helper()
	f.apply(translator.Event{Object: o, Deleted: true})
}

// work judges everything that waits, and returns how many times an object was judged by a rule.
func (f *office) work() int {
	f.t.Helper()
	before := f.series()["gatehouse_admission_audit_evaluations_total"]
	for f.turn(f.t.Context()) {
	}
	return int(f.series()["gatehouse_admission_audit_evaluations_total"] - before)
}

// series are the metrics, each with the values of its labels.
func (f *office) series() map[string]float64 {
	f.t.Helper()
	families, err := f.metrics.Gather()
	if err != nil {
		f.t.Fatal(err)
	}
	all := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			name := family.GetName()
			for _, label := range m.GetLabel() {
				name += " " + label.GetValue()
			}
			all[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return all
}

// worked says that work judges that many times.
func (f *office) worked(what string, want int) {
	f.t.Helper()
	if got := f.work(); got != want {
		f.t.Errorf("after %s there were %d evaluations, want %d", what, got, want)
	}
}

// rule takes a rule in YAML, without the beginning that all rules share.
func (f *office) rule(name, spec string) {
	f.t.Helper()
	f.versions++
	source := &rulesv1alpha1.AdmissionRule{ObjectMeta: metav1.ObjectMeta{Name: name, Generation: f.versions}}
	if err := yaml.UnmarshalStrict([]byte(spec), &source.Spec); err != nil {
		f.t.Fatal(err)
	}
	compiled, problems, err := admissionrule.Compile(f.t.Context(), source, nil)
	if err != nil || len(problems) > 0 {
		f.t.Fatal(err, problems)
	}
	f.PutRule(source, compiled)
}

// says is the status of a rule, as lines.
func (f *office) says(rule string) string {
	f.t.Helper()
	results, known := f.Results(rule)
	if !known || results == nil {
		return fmt.Sprintf("known: %t", known)
	}
	lines := []string{fmt.Sprintf("judged %d, violations %d, excepted %d, failed %d", results.Judged, results.Violations,
		results.Excepted, results.Failed)}
	for _, v := range results.First {
		lines = append(lines, fmt.Sprintf("%s %s/%s %s: %s", v.Kind, v.Namespace, v.Name, v.Field, v.Message))
	}
	return strings.Join(lines, "\n")
}

func (f *office) want(rule string, lines ...string) {
	f.t.Helper()
	if diff := cmp.Diff(lines, strings.Split(f.says(rule), "\n")); diff != "" {
		f.t.Errorf("rule %s (-want +got):\n%s", rule, diff)
	}
}

func namespace(name string, labels map[string]string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
}

func route(namespace, name string, generation int64, hosts ...gwapiv1.Hostname) *gwapiv1.HTTPRoute {
	r := &gwapiv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace, Name: name, Generation: generation, UID: types.UID(namespace + "/" + name),
	}}
	r.Spec.ParentRefs = []gwapiv1.ParentReference{{Name: "web", Namespace: ptr.To(gwapiv1.Namespace("edge"))}}
	r.Spec.Hostnames, r.Spec.Rules = hosts, []gwapiv1.HTTPRouteRule{{}}
	return r
}

const aboutHosts = `
severity: deny
exceptions: Allowed
matchConstraints:
  resourceRules: [{apiGroups: [gateway.networking.k8s.io], apiVersions: [v1], resources: [httproutes], operations: [CREATE, UPDATE]}]
validations:
- {expression: "object.spec.?hostnames.orValue([]).all(h, h.endsWith('.example.com'))", fieldPath: spec.hostnames, message: use example.com}
`

const aboutTeams = `
severity: audit
matchConstraints:
  resourceRules: [{apiGroups: ["*"], apiVersions: ["*"], resources: [httproutes, gateways], operations: ["*"]}]
  namespaceSelector: {matchExpressions: [{key: team, operator: Exists}]}
validations:
- {expression: "object.metadata.?labels[?'team'].orValue('') == namespaceObject.metadata.labels['team']", message: label it with the team}
`

// TestOnlyWhatChangedIsJudged: each change costs what depends on it, and the results are those of judging everything.
func TestOnlyWhatChangedIsJudged(t *testing.T) {
	f := newOffice(t, Options{Excluded: []string{"kube-system"}})
	f.rule("hosts", aboutHosts)
	f.store(namespace("kube-system", nil), route("kube-system", "hidden", 1, "hidden.org"))
	const namespaces, routes = 10, 20
	for n := range namespaces {
		name := fmt.Sprintf("n%d", n)
		f.store(namespace(name, nil))
		for r := range routes {
			f.store(route(name, fmt.Sprintf("r%02d", r), 1, "a.example.com"))
		}
	}
	f.lead(true)
	f.worked("the beginning", namespaces*routes)
	f.want("hosts", "judged 200, violations 0, excepted 0, failed 0")
	f.want("other", "known: true")

	f.store(route("n3", "r07", 2, "a.example.org"))
	f.worked("a change of a route", 1)
	f.want("hosts", "judged 200, violations 1, excepted 0, failed 0", "HTTPRoute n3/r07 spec.hostnames: use example.com")
	same := route("n3", "r07", 2, "a.example.org")
	same.Status.Parents = []gwapiv1.RouteParentStatus{{ControllerName: "someone"}}
	f.store(same)
	f.worked("a change of a status", 0)

	f.rule("teams", aboutTeams)
	f.worked("a new rule that selects no namespace", 0)
	f.store(namespace("n1", map[string]string{"team": "a"}))
	f.worked("a label of a Namespace", routes)
	f.want("teams", append([]string{"judged 20, violations 20, excepted 0, failed 0"}, numbered(10, func(i int) string {
		return fmt.Sprintf("HTTPRoute n1/r%02d : label it with the team", i)
	})...)...)
	f.store(namespace("n1", nil))
	f.worked("the end of the label", 0)
	f.want("teams", "judged 0, violations 0, excepted 0, failed 0")

	e := &rulesv1alpha1.AdmissionException{ObjectMeta: metav1.ObjectMeta{Namespace: "n3", Name: "e"}}
	e.Spec.Rules, e.Spec.Owner, e.Spec.Expires = []string{"hosts"}, "me", metav1.NewTime(f.now.Add(30*24*time.Hour))
	e.Spec.Targets = []rulesv1alpha1.ExceptionTarget{{Kind: "HTTPRoute", Name: "r07"}}
	f.PutException(e)
	f.worked("an exception", 1)
	f.want("hosts", "judged 200, violations 0, excepted 1, failed 0")
	f.PutException(e.DeepCopy())
	f.worked("a status of the exception", 0)
	if got, want := f.untilException(), 16*24*time.Hour; got != want {
		t.Errorf("the state of the exception changes in %s, want %s", got, want)
	}
	f.now = f.now.Add(30 * 24 * time.Hour)
	f.rouse()
	f.expire()
	f.worked("the end of the exception", 1)
	f.want("hosts", "judged 200, violations 1, excepted 0, failed 0",
		"HTTPRoute n3/r07 spec.hostnames: use example.com (AdmissionException e of me expired on 2030-01-31T00:00:00Z)")
	f.DeleteException("n3", "e")
	f.worked("the deletion of the exception", 1)

	f.rule("hosts", strings.ReplaceAll(aboutHosts, "example.com", "example.org"))
	f.worked("a change of a rule", namespaces*routes)
	f.want("hosts", append([]string{"judged 200, violations 199, excepted 0, failed 0"}, numbered(10, func(i int) string {
		return fmt.Sprintf("HTTPRoute n0/r%02d spec.hostnames: use example.org", i)
	})...)...)
	f.remove(route("n0", "r00", 1))
	f.worked("a deletion", 0)
	if got := f.says("hosts"); !strings.HasPrefix(got, "judged 199, violations 198,") {
		t.Error(got)
	}
	f.DeleteRule("hosts")
	f.want("hosts", "known: true")
	if len(f.sums) != 0 {
		t.Errorf("results are left: %v", f.sums)
	}
}

func numbered(n int, line func(int) string) (lines []string) {
	for i := range n {
		lines = append(lines, line(i))
	}
	return lines
}

const aboutAuthentication = `
severity: warn
matchConstraints:
  resourceRules: [{apiGroups: ["*"], apiVersions: ["*"], resources: ["*"], operations: ["*"]}]
validations:
- expression: "effective.routes.all(r, has(r.authentication))"
  messageExpression: "'nobody need authenticate for ' + effective.routes.map(r, r.namespace + '/' + r.name).join(', ')"
- expression: "effective.listeners.all(l, has(l.tls))"
  message: use TLS
`

// counted counts for how many objects the tables are asked at once.
type counted struct {
	*translator.World
	most int
}

func (c *counted) EffectiveOf(ctx context.Context, objects []verdict.Ref) (map[verdict.Ref]*effective.Configuration, error) {
	c.most = max(c.most, len(objects))
	return c.World.EffectiveOf(ctx, objects)
}

// TestWhatTakesEffectIsJudged: a rule about the effective configuration judges those routes and listeners again that the
// tables say are touched, whatever object touches them.
func TestWhatTakesEffectIsJudged(t *testing.T) {
	f := newOffice(t, Options{})
	class := &gwapiv1.GatewayClass{ObjectMeta: metav1.ObjectMeta{Name: "c"}, Spec: gwapiv1.GatewayClassSpec{ControllerName: controllerName}}
	gateway := func(name string) *gwapiv1.Gateway {
		g := &gwapiv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "edge", Name: name, Generation: 1}}
		g.Spec.GatewayClassName = "c"
		g.Spec.Listeners = []gwapiv1.Listener{{
			Name: "http", Protocol: gwapiv1.HTTPProtocolType, Port: 80,
			AllowedRoutes: &gwapiv1.AllowedRoutes{Namespaces: &gwapiv1.RouteNamespaces{From: ptr.To(gwapiv1.NamespacesFromAll)}},
		}}
		return g
	}
	f.store(class, namespace("edge", nil), namespace("shop", nil), gateway("web"), gateway("internal"))
	tables := &counted{World: f.world}
	f.o.Tables = tables
	const routes = 3 * atOnce
	for i := range routes {
		r := route("shop", fmt.Sprintf("web%03d", i), 1, gwapiv1.Hostname(fmt.Sprintf("h%d.example.com", i)))
		other := route("shop", fmt.Sprintf("internal%03d", i), 1, gwapiv1.Hostname(fmt.Sprintf("h%d.example.com", i)))
		other.Spec.ParentRefs[0].Name = "internal"
		f.store(r, other)
	}
	f.rule("authentication", aboutAuthentication)
	f.lead(true)
	f.worked("the beginning", 2*routes+3) // And the class and the Gateways.
	if got := f.says("authentication"); !strings.HasPrefix(got, `judged 387, violations 386, excepted 0, failed 0
Gateway edge/internal : use TLS
Gateway edge/web : use TLS
HTTPRoute shop/internal000 : nobody need authenticate for shop/internal000
`) {
		t.Error(got)
	}

	users := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "edge", Name: "users"}}
	users.Data = map[string][]byte{".htpasswd": []byte("user:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n")}
	f.store(users)
	f.worked("a Secret that nothing uses", 0)
	policy := &v1alpha1.SecurityPolicy{}
	if err := yaml.UnmarshalStrict([]byte(`
metadata: {namespace: edge, name: login, generation: 1}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: web}]
  basicAuth: {users: {name: users}}
`), policy); err != nil {
		t.Fatal(err)
	}
	f.store(policy)
	if got := f.work(); got < routes || got > routes+3 {
		t.Errorf("a policy of a Gateway costs %d evaluations, want those of its %d routes, itself and the Gateways", got, routes)
	}
	if got := f.says("authentication"); !strings.HasPrefix(got, "judged 388, violations 194,") || strings.Contains(got, "shop/web") {
		t.Error(got)
	}
	f.remove(policy)
	if got := f.work(); got < routes || got > routes+2 {
		t.Errorf("its deletion costs %d evaluations", got)
	}
	if got := f.says("authentication"); !strings.HasPrefix(got, "judged 387, violations 386,") {
		t.Error(got)
	}
	r := route("shop", "web000", 2, "another.example.com")
	f.store(r)
	if got := f.work(); got < 1 || got > 2 {
		t.Errorf("a route costs %d evaluations", got)
	}
	if tables.most != atOnce {
		t.Errorf("the tables tell of %d objects at once", tables.most)
	}
	f.DeleteRule("authentication")
	if outcome, err := f.world.Apply([]translator.Event{{Object: policy}}); err != nil || outcome.Touched != nil {
		t.Errorf("without rules that read it, the tables still say what is touched: %v, %v", outcome.Touched, err)
	}
}

// TestManyViolations: of a rule that everything violates, a bounded number of messages is kept. All are counted, and
// others take the place of those that are mended.
func TestManyViolations(t *testing.T) {
	f := newOffice(t, Options{})
	f.rule("hosts", aboutHosts)
	f.store(namespace("n", nil))
	const routes = mostTold + 300
	for i := range routes {
		f.store(route("n", fmt.Sprintf("r%04d", i), 1, "a.org"))
	}
	f.lead(true)
	f.worked("the beginning", routes)
	r := f.rules["hosts"]
	if got := f.says("hosts"); !strings.HasPrefix(got, fmt.Sprintf("judged %d, violations %d,", routes, routes)) {
		t.Error(got)
	}
	if len(r.told) != mostTold || r.untold != routes-mostTold {
		t.Errorf("%d are kept and %d are not", len(r.told), r.untold)
	}
	mended := 0
	for ref := range r.told {
		if mended++; mended > 200 {
			break
		}
		f.store(route("n", ref.Name, 2, "a.example.com"))
	}
	f.work()
	f.toTell()
	f.worked("mending 200 that were kept", 200)
	if len(r.told) != mostTold || r.untold != 100 || f.says("hosts")[:len("judged 800, violations 600")] != "judged 800, violations 600" {
		t.Errorf("%d are kept and %d are not: %s", len(r.told), r.untold, f.says("hosts"))
	}
	f.toTell()
	f.worked("nothing", 0)
	if c := f.contentOf("n"); len(c.findings) != mostResults || c.sums.fail != 600 || c.sums.pass != 200 {
		t.Errorf("a report has %d results of %+v", len(c.findings), c.sums)
	}
}

// TestLeaders: only the leader judges. A replica that leads again judges what is stored then.
func TestLeaders(t *testing.T) {
	f := newOffice(t, Options{})
	f.rule("hosts", aboutHosts)
	f.store(namespace("n", nil), route("n", "a", 1, "a.org"))
	f.worked("nothing that a replica does that does not lead", 0)
	f.want("hosts", "known: false")
	none := map[string]float64{"gatehouse_admission_audit_evaluations_total": 0}
	if diff := cmp.Diff(none, f.series()); diff != "" {
		t.Errorf("metrics of a replica that does not lead (-want +got):\n%s", diff)
	}
	f.lead(true)
	f.want("hosts", "known: false") // Not everything has been judged.
	if names := f.toTell(); len(names) != 0 {
		t.Errorf("%v are told of before everything is known", names)
	}
	f.work()
	f.want("hosts", "judged 1, violations 1, excepted 0, failed 0", "HTTPRoute n/a spec.hostnames: use example.com")
	if names := f.toTell(); !cmp.Equal(names, []string{"hosts"}) || len(f.toTell()) != 0 {
		t.Errorf("%v are told of", names)
	}
	const gauge = "gatehouse_admission_rule_violations "
	if diff := cmp.Diff(map[string]float64{
		"gatehouse_admission_audit_evaluations_total": 1, gauge + "violated hosts": 1, gauge + "excepted hosts": 0,
		gauge + "failed hosts": 0,
	}, f.series()); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
	f.lead(false)
	f.store(route("n", "b", 1, "b.org"))
	f.worked("a change while another replica leads", 0)
	f.lead(true)
	f.worked("the second beginning", 2)
	f.want("hosts", "judged 2, violations 2, excepted 0, failed 0", "HTTPRoute n/a spec.hostnames: use example.com",
		"HTTPRoute n/b spec.hostnames: use example.com")
	leaving := route("n", "b", 1, "b.org")
	leaving.DeletionTimestamp = &metav1.Time{Time: f.now}
	f.store(leaving)
	f.want("hosts", "judged 1, violations 1, excepted 0, failed 0", "HTTPRoute n/a spec.hostnames: use example.com")
}

// TestNamespacesComeLate: an object whose Namespace is not known yet is judged as soon as it is.
func TestNamespacesComeLate(t *testing.T) {
	f := newOffice(t, Options{})
	f.rule("hosts", aboutHosts)
	f.lead(true)
	f.store(route("n", "a", 1, "a.org"))
	f.worked("a route without a Namespace", 0)
	f.store(namespace("n", nil))
	f.worked("its Namespace", 1)
}

// BenchmarkBeginning judges 10,000 routes by nine rules, of which one reads what takes effect, as a new leader does.
func BenchmarkBeginning(b *testing.B) {
	f := newOffice(b, Options{})
	f.store(&gwapiv1.GatewayClass{
		ObjectMeta: metav1.ObjectMeta{Name: "c"}, Spec: gwapiv1.GatewayClassSpec{ControllerName: controllerName},
	}, namespace("edge", nil), namespace("shop", nil))
	g := &gwapiv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "edge", Name: "web", Generation: 1}}
	g.Spec.GatewayClassName = "c"
	g.Spec.Listeners = []gwapiv1.Listener{{
		Name: "http", Protocol: gwapiv1.HTTPProtocolType, Port: 80,
		AllowedRoutes: &gwapiv1.AllowedRoutes{Namespaces: &gwapiv1.RouteNamespaces{From: ptr.To(gwapiv1.NamespacesFromAll)}},
	}}
	f.store(g)
	var routes []translator.Object
	for i := range 10_000 {
		routes = append(routes, route("shop", fmt.Sprintf("r%d", i), 1, gwapiv1.Hostname(fmt.Sprintf("h%d.example.com", i))))
	}
	f.store(routes...)
	for i := range 8 {
		f.rule(fmt.Sprintf("hosts%d", i), aboutHosts)
	}
	f.rule("authentication", aboutAuthentication)
	b.ReportAllocs()
	for b.Loop() {
		f.lead(false)
		f.lead(true)
		if n := f.work(); n != 9*10_000+2 {
			b.Fatalf("%d evaluations", n)
		}
	}
}
