package translator

import (
	"fmt"
	"slices"
	"strings"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	earlyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	"google.golang.org/protobuf/encoding/protowire"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
)

// ScopedRoutesAnnotation is an annotation of Gateways. With "true" Envoy gets each exact host of each listener as a
// scope of its own, so that the cost of a change does not depend on the number of routes (docs/scoped-routes.md).
const ScopedRoutesAnnotation = "gatehouse.dev/scoped-routes"

const (
	typeScopes = typePrefix + "envoy.config.route.v3.ScopedRouteConfiguration"
	// listenerHeader carries the name of the listener into the scope key, since all listeners of an Envoy share its
	// scopes. It is set before anything else reads the request, and taken away before it is forwarded.
	listenerHeader = "x-gatehouse-listener"
	// fieldInlineRoutes is ScopedRouteConfiguration.route_configuration.
	fieldInlineRoutes protowire.Number = 5
	// conditionHostnames is False on a route with hosts that are not served, because they are not exact or because
	// another route has them.
	conditionHostnames = "HostnamesServed"
)

func scopedRoutes(g *gwapiv1.Gateway) bool { return g.Annotations[ScopedRoutesAnnotation] == "true" }

// routesOf names that from which a listener takes its routes.
func (g *gatewayRow) routesOf(config string) Name {
	if g.Scoped {
		return Name{typeScopes, config}
	}
	return Name{typeRoutes, config}
}

// setRoutes tells a connection manager where to take its routes from.
func setRoutes(m *hcmv3.HttpConnectionManager, routes Name) {
	if routes.Type == typeRoutes {
		m.RouteSpecifier = &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{
			ConfigSource:    overADS(),
			RouteConfigName: routes.Name,
		}}
		return
	}
	host := &hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor{
		Name: ":authority", ElementSeparator: ":",
		ExtractType: &hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor_Index{},
	}
	listener := &hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor{
		Name: listenerHeader, ExtractType: &hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor_Index{},
	}
	key := &hcmv3.ScopedRoutes_ScopeKeyBuilder{}
	for _, part := range []*hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor{host, listener} {
		key.Fragments = append(key.Fragments, &hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder{
			Type: &hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor_{HeaderValueExtractor: part},
		})
	}
	m.RouteSpecifier = &hcmv3.HttpConnectionManager_ScopedRoutes{ScopedRoutes: &hcmv3.ScopedRoutes{
		Name: routes.Name, ScopeKeyBuilder: key, RdsConfigSource: overADS(),
		ConfigSpecifier: &hcmv3.ScopedRoutes_ScopedRds{ScopedRds: &hcmv3.ScopedRds{ScopedRdsConfigSource: overADS()}},
	}}
	m.EarlyHeaderMutationExtensions = append(m.EarlyHeaderMutationExtensions, &corev3.TypedExtensionConfig{
		Name: "envoy.http.early_header_mutation.header_mutation",
		TypedConfig: packed(&earlyv3.HeaderMutation{Mutations: []*mutationv3.HeaderMutation{{
			Action: &mutationv3.HeaderMutation_Append{Append: &corev3.HeaderValueOption{
				Header:       &corev3.HeaderValue{Key: listenerHeader, Value: routes.Name},
				AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
			}},
		}}}),
	})
}

// scope is a host of a Gateway with scoped routes: its route configuration, inline, under the key of the host.
func (t *Tables) scope(r *flow.Read, _ string, v *virtualHostRow) (*Resource, bool) {
	if !v.Scoped {
		return nil, false
	}
	name := v.Config + "/" + v.Host
	body := encode(&routev3.ScopedRouteConfiguration{Name: name, Key: &routev3.ScopedRouteConfiguration_Key{
		Fragments: []*routev3.ScopedRouteConfiguration_Key_Fragment{scopeKey(v.Host), scopeKey(v.Config)},
	}})
	quic, _ := t.quic.Get(r, v.Config)
	config := routeConfigHead(name, quic.Port)
	config.RequestHeadersToRemove = []string{listenerHeader}
	body = appendMessage(body, fieldInlineRoutes, append(encode(config), v.Body...))
	needs := make([]Name, len(v.Clusters))
	for i, c := range v.Clusters {
		needs[i] = Name{typeCluster, c}
	}
	return encodedResource(typeScopes, name, body, needs), true
}

// markedScope adds the mark to the name of a scope's route configuration. An Envoy that rejects a response remembers
// the scopes before the rejected one without using them.
func markedScope(name, mark string) []byte {
	return appendMessage(nil, fieldInlineRoutes, protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType),
		name+"#"+mark))
}

func scopeKey(fragment string) *routev3.ScopedRouteConfiguration_Key_Fragment {
	return &routev3.ScopedRouteConfiguration_Key_Fragment{
		Type: &routev3.ScopedRouteConfiguration_Key_Fragment_StringKey{StringKey: fragment},
	}
}

// scopable separates hosts that can be scopes from wildcards, which cannot, because scopes have no fallback.
func scopable(hosts []string) (exact, wild []string) {
	for _, h := range hosts {
		if strings.HasPrefix(h, "*") {
			wild = append(wild, h)
		} else {
			exact = append(exact, h)
		}
	}
	return exact, wild
}

// tellWildcards reports hosts that the route would serve if its Gateway had no scoped routes. A route without any other
// host is not attached.
func (p *parentRow) tellWildcards(wild []string) {
	slices.Sort(wild)
	quoted := make([]string, 0, len(wild))
	for _, h := range slices.Compact(wild) {
		quoted = append(quoted, fmt.Sprintf("%q", h))
	}
	problem := verdict.Problem{
		Field: "spec.hostnames", Reason: string(gwapiv1.RouteReasonUnsupportedValue), Weight: verdict.Unresolved,
		Scope: fmt.Sprint(p.Index),
		Message: fmt.Sprintf("%s cannot be served: Gateway %s has annotation %s, and so exact hosts only: write each host, or use another Gateway",
			strings.Join(quoted, ", "), keyOf(p.Gateway.Gateway), ScopedRoutesAnnotation),
	}
	if len(p.Listeners) > 0 {
		problem.Condition = conditionHostnames
	}
	p.Problems = append(p.Problems, problem)
}

// switched reports Gateways that a change would make scoped, or no longer scoped. This does not affect what they serve,
// but makes everything untrue that was reported about their routes.
func (t *Tables) switched(r *flow.Read, c *flow.Changes) []Finding {
	var findings []Finding
	for _, key := range flow.Changed(c, t.gateways) {
		now, ok := t.gateways.Get(r, key)
		was, had := flow.Before(c, t.gateways, key)
		if !ok || !had || was.Scoped == now.Scoped || was.Gateway.UID != now.Gateway.UID {
			continue
		}
		findings = append(findings, Finding{Object: gatewayRef(now.Gateway), Problem: verdict.Problem{
			Field: fmt.Sprintf("metadata.annotations[%s]", ScopedRoutesAnnotation), Reason: reasonInvalidParameters,
			Weight:  verdict.Invalid,
			Message: fmt.Sprintf("%t cannot become %t while the Gateway lives: make another Gateway for it, or delete this one first", was.Scoped, now.Scoped),
		}})
	}
	return findings
}
