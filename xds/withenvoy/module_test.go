package withenvoy

import (
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/infra/envoytest"
)

// TestLoadBalancerModule: a real Envoy has a real module choose endpoints, once the settings of its Gateway have the module.
// Until then the route answers 500.
func TestLoadBalancerModule(t *testing.T) {
	module := filepath.Join(t.TempDir(), "libbalancer.so")
	compiler, err := exec.LookPath("cc")
	if err != nil {
		t.Skipf("no C compiler to build the module with: %v", err)
	}
	if out, err := exec.Command(compiler, "-shared", "-fPIC", "-o", module, "testdata/balancer.c").CombinedOutput(); err != nil {
		t.Fatalf("building the module: %v\n%s", err, out)
	}
	c := startTranslated(t, false)
	nothing := func(http.ResponseWriter, *http.Request) {}
	c.apply(c.behind("web", named("one", nothing), named("two", nothing))...)
	route := c.route("web.test", nil)
	route.Spec.Rules[0].BackendRefs[0].Name = "web"
	balanced := func(algorithm, config string) {
		c.apply(c.traffic("HTTPRoute", "web.test", "{loadBalancer: {type: DynamicModule, dynamicModule: {name: shop, lbPolicyName: "+
			algorithm+", config: "+config+"}}}"))
	}
	c.apply(route)
	balanced("first", `{shop: [orders]}`)
	eventually := func(wants ...string) (answer string) {
		t.Helper()
		envoytest.WaitFor(t, strings.Join(wants, " or "), func() bool {
			answer = ask(t, proxyPort, "web.test")
			return slices.Contains(wants, answer)
		})
		for range 10 {
			if got := ask(t, proxyPort, "web.test"); got != answer {
				t.Errorf("a request is answered %q, and another %q", answer, got)
			}
		}
		return answer
	}
	eventually("500 ")

	settings := &v1alpha1.EnvoyProxy{ObjectMeta: c.meta("modules")}
	settings.Spec.DynamicModules = []v1alpha1.DynamicModule{{Name: "shop", Source: v1alpha1.DynamicModuleSource{
		Local: &v1alpha1.LocalDynamicModule{Path: module},
	}}}
	gateway := c.gateway(false, 80, 8081)
	gateway.Spec.Infrastructure = &gwapiv1.GatewayInfrastructure{ParametersRef: &gwapiv1.LocalParametersReference{
		Group: v1alpha1.GroupName, Kind: v1alpha1.KindEnvoyProxy, Name: "modules",
	}}
	c.apply(settings, gateway)
	first := eventually("200 one", "200 two") // Their ports decide which one comes first.
	balanced("last", `{shop: [orders]}`)
	eventually(map[string]string{"200 one": "200 two", "200 two": "200 one"}[first])
}
