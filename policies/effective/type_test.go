package effective

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/cel-go/cel"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/version"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"

	"gatehouse/policies/feature"
)

// env is the environment of the API server, with the variable.
func env(t *testing.T) *cel.Env {
	t.Helper()
	set, err := environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()).Extend(environment.VersionedOptions{
		IntroducedVersion: version.MajorMinor(1, 0),
		EnvOptions:        []cel.EnvOption{cel.Variable("effective", Type().CelType())},
		DeclTypes:         []*apiservercel.DeclType{Type()},
	})
	if err != nil {
		t.Fatal(err)
	}
	return set.StoredExpressionsEnv()
}

// example has something in every field of interest.
func example() *Configuration {
	listener := &Entry{
		Name: "https", Protocol: "HTTPS", Port: 443,
		Gateway: Gateway{Namespace: "infra", Name: "eg", Class: "eg", Labels: map[string]string{"exposed": "internet"}},
		TLS: &TLS{Mode: "Terminate", MinVersion: "1.2", MaxVersion: "1.3", Certificates: []Certificate{{
			Issuer: "CN=Root,O=Example", NotAfter: new(metav1.NewTime(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))),
		}}},
	}
	open := &Route{Kind: "HTTPRoute", Namespace: "shop", Name: "cart", Listener: listener}
	open.Backends = []Backend{{Kind: "Service", Namespace: "stock", Name: "levels", Port: new(int64(80)), Weight: 1}}
	open.Timeouts = &feature.Timeouts{Request: &metav1.Duration{Duration: 90 * time.Second}}
	closed := &Route{Kind: "HTTPRoute", Namespace: "shop", Name: "admin", Listener: listener, Closed: true}
	closed.Authenticate(feature.AuthenticationProvider{
		Kind: "basicAuth", Secret: &feature.ObjectName{Kind: "Secret", Name: "users"},
	})
	return &Configuration{Routes: []*Route{open, closed}, Listeners: []*Listener{{Entry: *listener}}}
}

func TestRulesReadTheConfiguration(t *testing.T) {
	data, err := example().Data()
	if err != nil {
		t.Fatal(err)
	}
	for expression, want := range map[string]bool{
		`effective.routes.all(r, r.closed || has(r.authentication))`:                                     false,
		`effective.routes.exists(r, has(r.authentication) && 'basicAuth' in r.authentication.kinds)`:     true,
		`effective.routes[1].authentication.providers[0].secret.name == 'users'`:                         true,
		`effective.routes.all(r, r.listener.tls.minVersion >= '1.2')`:                                    true,
		`effective.routes[0].namespace == 'shop' && effective.routes[0].backends[0].namespace == 'shop'`: false,
		`effective.routes.all(r, !has(r.timeouts) || duration(r.timeouts.request) <= duration('1m'))`:    false,
		`timestamp(effective.listeners[0].tls.certificates[0].notAfter).getFullYear() == 2030`:           true,
		`effective.listeners[0].gateway.labels.exposed == 'internet' && !effective.cut`:                  true,
		`has(effective.routes[0].cors) || has(effective.routes[0].authentication)`:                       false,
		`effective.routes[0].backends[0].port == 80 && effective.routes[0].listener.port == 443`:         true,
	} {
		if got := evaluate(t, expression, data); got != want {
			t.Errorf("%s is %t, want %t", expression, got, want)
		}
	}
}

// TestExamplesOfThePage evaluates the examples of docs/effective.md.
func TestExamplesOfThePage(t *testing.T) {
	data, err := example().Data()
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile("(?s)```\n(.*?)\n```").FindAllStringSubmatch(introduction, -1)
	want := []bool{false, true, false, false}
	if len(examples) != len(want) {
		t.Fatalf("there are %d examples", len(examples))
	}
	for i, example := range examples {
		if got := evaluate(t, example[1], data); got != want[i] {
			t.Errorf("%s is %t, want %t", example[1], got, want[i])
		}
	}
}

func evaluate(t *testing.T, expression string, data map[string]any) bool {
	t.Helper()
	e := env(t)
	checked, issues := e.Compile(expression)
	if issues.Err() != nil {
		t.Fatalf("%s: %v", expression, issues.Err())
	}
	program, err := e.Program(checked)
	if err != nil {
		t.Fatal(err)
	}
	out, _, err := program.Eval(map[string]any{"effective": data})
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	return out.Value().(bool)
}

// TestMistakesInRulesAreFound: a field that does not exist, or has another type, is found before a rule is used.
func TestMistakesInRulesAreFound(t *testing.T) {
	for expression, want := range map[string]string{
		`effective.routes.all(r, has(r.authentification))`:           "undefined field 'authentification'",
		`effective.routes.all(r, has(r.clients))`:                    "undefined field 'clients'",
		`effective.routes.all(r, r.timeouts.request < 30)`:           "no matching overload",
		`effective.listeners.all(l, l.tls.minVersion >= 1.2)`:        "no matching overload",
		`effective.listeners.all(l, l.namespaces.from.contains(80))`: "no matching overload",
	} {
		_, issues := env(t).Compile(expression)
		if issues.Err() == nil || !strings.Contains(issues.Err().Error(), want) {
			t.Errorf("%s: got %v, want %s", expression, issues.Err(), want)
		}
	}
}
