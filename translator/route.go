package translator

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
)

// declareBindings: what routes and filters of listeners add to Envoy.
func (t *Tables) declareBindings() {
	t.rulesOf = flow.Derive(t.routes, "rules", (*rulesRow).equal, t.routeRules)
	t.rulesByBackend = flow.NewIndex(t.rulesOf, "rules by backend", keysOfRules)
	t.bindings = flow.Concat("all bindings", (*bindingRow).equal,
		flow.Expand(t.parents, "bindings", (*bindingRow).equal, t.binding),
		flow.Expand(t.guards, "bindings of filters", (*bindingRow).equal, t.guardBinding))
	t.forwardings = flow.NewIndex(t.bindings, "bindings of layer 4 by listener", forwardingListener)
	t.rejectedByRoute = flow.NewIndex(t.bindings, "rejected bindings by route", rejectedRoutes)
}

// routeKind is what the translation must know of a kind of route.
type routeKind struct {
	Name gwapiv1.Kind
	// New makes an empty route of the kind.
	New func() Object
	// read brings a route into the form of all kinds.
	read func(Object, *routeRow)
	// status is where a route has its status.
	status func(Object) *gwapiv1.RouteStatus

	// transport is the protocol of the Service ports that its backendRefs mean.
	transport corev1.Protocol
	// failure is the status of what cannot be carried out as written; layer 4 knows none.
	failure uint32
	// serverNames reports whether what is forwarded has the server name of a TLS handshake.
	serverNames bool
	// http2 reports whether Envoy speaks HTTP/2 to backends even if their Service does not ask for it.
	http2 bool
	// checkMatch finds what keeps a match of a rule from being translated.
	checkMatch func(route *routeRow, rule, match int, field string) []verdict.Problem
	// precedence is the place of a match of a rule among others; -1 is the match of a rule that has none, which is
	// everything.
	precedence func(route *routeRow, rule, match int) precedence
}

// routeKinds is the only list of the served kinds.
var routeKinds = []*routeKind{&httpRoutes, &grpcRoutes, &tlsRoutes, &tcpRoutes, &udpRoutes}

// fails says what happens if a route cannot be carried out as written.
func (k *routeKind) fails() string {
	if k.failure == 0 {
		return "forwards nothing"
	}
	return fmt.Sprintf("answers %d", k.failure)
}

// RouteTypes makes an empty object of each kind of route that is served.
func RouteTypes() []Object {
	types := make([]Object, len(routeKinds))
	for i, k := range routeKinds {
		types[i] = k.New()
	}
	return types
}

// Gateway API requires 500 if an HTTPRoute cannot be carried out (HTTPBackendRef).
var httpRoutes = routeKind{
	Name: "HTTPRoute",
	New:  func() Object { return &gwapiv1.HTTPRoute{} },
	read: func(o Object, row *routeRow) {
		spec := &o.(*gwapiv1.HTTPRoute).Spec
		row.Parents, row.Hostnames = spec.ParentRefs, spec.Hostnames
		row.Rules = convert(spec.Rules, func(r gwapiv1.HTTPRouteRule) feature.Rule { return feature.Rule{HTTPRouteRule: r} })
	},
	status:    func(o Object) *gwapiv1.RouteStatus { return &o.(*gwapiv1.HTTPRoute).Status.RouteStatus },
	transport: corev1.ProtocolTCP,
	failure:   500,
	checkMatch: func(route *routeRow, rule, match int, field string) []verdict.Problem {
		return checkMatch(&route.Rules[rule].Matches[match], field)
	},
	precedence: func(route *routeRow, rule, match int) precedence {
		if match < 0 {
			return precedenceOf(nil)
		}
		return precedenceOf(&route.Rules[rule].Matches[match])
	},
}

// routeRow is a route of any kind, with what all kinds have in one form.
type routeRow struct {
	// Key is the key of the row. Routes of different kinds may have the same name.
	Key       string
	Object    Object
	Kind      *routeKind
	Parents   []gwapiv1.ParentReference
	Hostnames []gwapiv1.Hostname
	// Rules are those of an HTTPRoute, or of another kind in the same terms.
	Rules []feature.Rule
}

func (row *routeRow) equal(o *routeRow) bool {
	return row.Object == o.Object && slices.EqualFunc(row.Rules, o.Rules, func(a, b feature.Rule) bool {
		return slices.EqualFunc(a.Extensions, b.Extensions, feature.ExtensionFilter.Equal)
	})
}

// name is the route as it stands in the names of what is made of it.
func (row *routeRow) name() string {
	return routeKey(strings.ToLower(string(row.Kind.Name)), keyOf(row.Object))
}

func (row *routeRow) ref() verdict.Ref {
	return verdict.Ref{
		Group: gwapiv1.GroupName, Kind: string(row.Kind.Name), Namespace: row.Object.GetNamespace(),
		Name: row.Object.GetName(),
	}
}

func routeKey(kind, key string) string { return kind + "/" + key }

// routeKindOf finds the kind of a route by its Go type.
func routeKindOf(o Object) *routeKind {
	i := slices.IndexFunc(routeKinds, func(k *routeKind) bool { return reflect.TypeOf(k.New()) == reflect.TypeOf(o) })
	return routeKinds[i]
}

// route brings a route into the form of all kinds.
func (t *Tables) route(r *flow.Read, key string, o Object) (*routeRow, bool) {
	row := &routeRow{Key: key, Object: o, Kind: routeKindOf(o)}
	row.Kind.read(o, row)
	t.extend(r, row)
	return row, true
}
