package translator

import (
	"fmt"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies"
	"gatehouse/policies/routingtype"
	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
	"gatehouse/translator/status"
)

// declareGateways: Gateways and ListenerSets.
func (t *Tables) declareGateways() {
	t.gateways = flow.Derive(t.in.gateways, "gateways", (*gatewayRow).equal, t.gateway)
	t.listenerSets = flow.Derive(t.in.listenerSets, "listener sets", (*listenerSetRow).equal, t.listenerSet)
}

// conditionListenerSets marks problems of allowedListeners. They exclude ListenerSets and do not affect the Gateway
// itself. Gateway API has no condition for them.
const conditionListenerSets = "ListenerSets"

// gatewayRow is a Gateway of one of our classes, with the settings of its fleet.
type gatewayRow struct {
	Gateway    *gwapiv1.Gateway
	Class      *gwapiv1.GatewayClass
	EnvoyProxy *v1alpha1.EnvoyProxy
	// Lost reports whether Class no longer exists and is remembered, see classOf.
	Lost bool
	// Scoped reports whether the routes are delivered as scopes, see ScopedRoutesAnnotation.
	Scoped bool
	// Client is the name of the SDS secret with the certificate that is presented to backends with TLS, empty for none.
	// ClientRefused reports whether one is required but the reference to it is not allowed. Backends with TLS are then
	// not reached.
	Client        string
	ClientRefused bool
	// Problems are those of the Gateway as a whole. Those of its listeners are in their own rows.
	Problems []verdict.Problem
	// ListenerProblems were found in the Gateway alone but belong to the listener in their Scope.
	ListenerProblems []verdict.Problem
}

func (g *gatewayRow) equal(o *gatewayRow) bool {
	return g.Gateway == o.Gateway && g.Class == o.Class && g.EnvoyProxy == o.EnvoyProxy &&
		g.Lost == o.Lost && g.Client == o.Client && g.ClientRefused == o.ClientRefused &&
		equalProblems(g.Problems, o.Problems) && equalProblems(g.ListenerProblems, o.ListenerProblems)
}

// ofService reports whether requests go to the addresses of Services if no policy says otherwise.
func (g *gatewayRow) ofService() bool {
	return g.EnvoyProxy != nil && routingtype.OfService(g.EnvoyProxy.Spec.RoutingType, false)
}

func (t *Tables) gateway(r *flow.Read, key string, g *gwapiv1.Gateway) (*gatewayRow, bool) {
	class, lost, ok := t.classOf(r, key, g)
	if !ok {
		return nil, false
	}
	row := &gatewayRow{Gateway: g, Class: class.Class, EnvoyProxy: class.EnvoyProxy, Lost: lost, Scoped: scopedRoutes(g)}
	for _, p := range t.rules.Check(g) {
		if p.Scope == "" {
			row.Problems = append(row.Problems, p)
		} else {
			row.ListenerProblems = append(row.ListenerProblems, p)
		}
	}
	if len(class.Problems) > 0 {
		row.Problems = append(row.Problems, verdict.Problem{
			Field: "spec.gatewayClassName", Reason: reasonInvalidParameters, Weight: verdict.Unresolved,
			Message: fmt.Sprintf("GatewayClass %q is not accepted: %s", class.Class.Name, class.Problems[0]),
		})
	}
	if inf := g.Spec.Infrastructure; inf != nil && inf.ParametersRef != nil {
		ref := inf.ParametersRef
		spec, problems := t.envoyProxy(r, parameters{
			Field: "spec.infrastructure.parametersRef", Group: string(ref.Group), Kind: string(ref.Kind), Namespace: g.Namespace,
			Name: ref.Name,
		})
		row.EnvoyProxy, row.Problems = spec, append(row.Problems, problems...)
	}
	row.Problems = append(row.Problems, addressProblems(g, ipFamily(row.EnvoyProxy))...)
	t.meetGateway(r, key, row)
	if a := g.Spec.AllowedListeners; a != nil && a.Namespaces != nil &&
		deref(a.Namespaces.From) == gwapiv1.NamespacesFromSelector {
		for _, p := range policies.CheckNamespaces("spec.allowedListeners.namespaces.selector", a.Namespaces.Selector) {
			p.Condition = conditionListenerSets
			row.Problems = append(row.Problems, p)
		}
	}
	return row, true
}

// accepted reports whether the Gateway as a whole can be served; its listeners may still be wrong.
func (g *gatewayRow) accepted() bool {
	return len(status.About(g.Problems, string(gwapiv1.GatewayConditionAccepted), "")) == 0
}

func gatewayRef(g *gwapiv1.Gateway) verdict.Ref {
	return verdict.Ref{Group: gwapiv1.GroupName, Kind: "Gateway", Namespace: g.Namespace, Name: g.Name}
}
