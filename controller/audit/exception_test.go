package audit

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	rulesv1alpha1 "gatehouse/api/rules/v1alpha1"
)

const aboutOpenRoutes = `
exceptions: Allowed
matchConstraints:
  resourceRules: [{apiGroups: [gateway.networking.k8s.io], apiVersions: [v1], resources: [httproutes, gateways], operations: ["*"]}]
validations:
- {expression: "effective.routes.all(r, has(r.authentication))", message: authenticate}
`

// TestExceptedRoutes: a violation of a route counts at the route alone, and is excepted until the exception ends.
func TestExceptedRoutes(t *testing.T) {
	f := newOffice(t, Options{})
	class := &gwapiv1.GatewayClass{ObjectMeta: metav1.ObjectMeta{Name: "c"}, Spec: gwapiv1.GatewayClassSpec{ControllerName: controllerName}}
	gateway := &gwapiv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "edge", Name: "web", Generation: 1}}
	gateway.Spec.GatewayClassName = "c"
	gateway.Spec.Listeners = []gwapiv1.Listener{{
		Name: "http", Protocol: gwapiv1.HTTPProtocolType, Port: 80,
		AllowedRoutes: &gwapiv1.AllowedRoutes{Namespaces: &gwapiv1.RouteNamespaces{From: ptr.To(gwapiv1.NamespacesFromAll)}},
	}}
	cart := route("shop", "cart", 1, "cart.example.com")
	cart.Labels = map[string]string{"old": "yes"}
	f.store(class, namespace("edge", nil), namespace("shop", nil), gateway, cart)
	f.rule("open", aboutOpenRoutes)
	f.lead(true)
	f.worked("the beginning", 2)
	violated := []string{"judged 2, violations 1, excepted 0, failed 0", "HTTPRoute shop/cart : authenticate"}
	f.want("open", violated...)

	e := &rulesv1alpha1.AdmissionException{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "e"}}
	e.Spec.Rules, e.Spec.Owner, e.Spec.Expires = []string{"open"}, "me", metav1.NewTime(f.now.Add(30*24*time.Hour))
	e.Spec.Targets = []rulesv1alpha1.ExceptionTarget{{
		Kind: "HTTPRoute", Selector: &rulesv1alpha1.LabelSelector{MatchLabels: cart.Labels},
	}}
	f.PutException(e)
	f.worked("an exception", 1)
	f.want("open", "judged 2, violations 0, excepted 1, failed 0")
	f.DeleteException("shop", "e")
	f.worked("its deletion", 1)
	f.want("open", violated...)
	f.PutException(e)
	f.work()
	f.now = e.Spec.Expires.Time
	f.expire()
	f.worked("its end", 1)
	violated[1] += " (AdmissionException e of me expired on 2030-01-31T00:00:00Z)"
	f.want("open", violated...)
}
