// Package policies says which policies there are and what they mean for Envoy: the one ordered list of features, the
// one table of policy kinds, and how policies attach to Gateways and routes.
//
// Everything here is a pure function of its arguments. A caller loops over Kinds and never asks which kind it holds.
package policies

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/authorization"
	"gatehouse/policies/cors"
	"gatehouse/policies/feature"
	"gatehouse/policies/loadbalancer"
	"gatehouse/policies/retry"
	"gatehouse/policies/timeout"
	"gatehouse/policies/verdict"
)

// Object is a policy of any kind.
type Object = v1alpha1.Policy

// Kind is a kind of policy. Its methods take policies of that kind only, and panic on another.
type Kind struct {
	// Kind is the name of the kind, such as BackendTrafficPolicy.
	Kind string
	// Targets are the kinds that it can target and that are served.
	Targets []string
	// New makes an empty policy, to decode into.
	New func() Object
	// Unserved tells that nothing of the kind is served yet: what its policies cover is not served either.
	Unserved bool
	// Dormant tells that policies of the kind have no effect unless the operator enables it.
	Dormant bool
}

// Kinds is every kind of policy.
var Kinds = []Kind{
	{
		Kind:    "BackendTrafficPolicy",
		Targets: []string{"Gateway", "ListenerSet", "HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute"},
		New:     func() Object { return &v1alpha1.BackendTrafficPolicy{} },
	},
	{
		Kind:    "SecurityPolicy",
		Targets: []string{"Gateway", "ListenerSet", "HTTPRoute", "GRPCRoute", "TCPRoute"},
		New:     func() Object { return &v1alpha1.SecurityPolicy{} },
	},
	{
		Kind:     v1alpha1.KindClientTrafficPolicy,
		Targets:  []string{"Gateway", "ListenerSet"},
		New:      func() Object { return &v1alpha1.ClientTrafficPolicy{} },
		Unserved: true,
	},
	{
		Kind:     v1alpha1.KindEnvoyExtensionPolicy,
		Targets:  []string{"Gateway", "ListenerSet", "HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute"},
		New:      func() Object { return &v1alpha1.EnvoyExtensionPolicy{} },
		Unserved: true,
	},
	{
		Kind:     v1alpha1.KindEnvoyPatchPolicy,
		Targets:  []string{"Gateway"},
		New:      func() Object { return &v1alpha1.EnvoyPatchPolicy{} },
		Unserved: true,
		Dormant:  true,
	},
}

var (
	backendTraffic = binder("BackendTrafficPolicy", func(p *v1alpha1.BackendTrafficPolicy) *v1alpha1.BackendTrafficPolicySpec { return &p.Spec })
	security       = binder("SecurityPolicy", func(p *v1alpha1.SecurityPolicy) *v1alpha1.SecurityPolicySpec { return &p.Spec })
)

// features is every feature of every kind. Its order is the order of the HTTP filters.
var features = []bound{
	security(cors.Vary),
	security(cors.Feature),
	security(authorization.Feature),
	backendTraffic(timeout.Feature),
	backendTraffic(retry.Feature),
	backendTraffic(loadbalancer.Feature),
}

// reasonDisabled is the reason of condition Accepted of a policy whose kind is switched off, as Envoy Gateway has it.
const reasonDisabled = "Disabled"

// Disabled is the problem of a policy of a dormant kind that is not enabled. It does no harm to what the policy is about.
func (k Kind) Disabled() verdict.Problem {
	return verdict.Problem{
		Field: "spec", Reason: reasonDisabled, Weight: verdict.Unresolved,
		Message: fmt.Sprintf("kind %s is switched off and not served yet, so the object has no effect: delete it", k.Kind),
	}
}

// Check finds what is wrong with the spec, its targets apart: References and Selectors tell of those.
func (k Kind) Check(p Object) []verdict.Problem {
	if k.Unserved {
		return []verdict.Problem{feature.Invalid("spec",
			"kind %s is not served yet, so nothing that the policy covers is served: delete it if what it asks for is not needed", k.Kind)}
	}
	problems := feature.Unread(p.GetUnread(), "nothing that the policy covers is served")
	for f := range k.features {
		problems = append(problems, f.check(p)...)
	}
	return problems
}

// Cluster sets what the policy says about clusters, defaults included. A nil policy sets the defaults.
func (k Kind) Cluster(p Object, upstream *feature.Upstream) {
	for f := range k.features {
		f.cluster(p, upstream)
	}
}

// ShapesCluster reports whether the policy makes a cluster differ from one without a policy. One that spells out the
// defaults does not.
func (k Kind) ShapesCluster(p Object) bool {
	with, without := feature.NewUpstream(), feature.NewUpstream()
	k.Cluster(p, with)
	k.Cluster(nil, without)
	return !bytes.Equal(Settings(with), Settings(without))
}

// Together reports whether the policy needs all backends of a rule in one cluster, as consistent hashing does.
func (k Kind) Together(p Object) bool {
	upstream := feature.NewUpstream()
	k.Cluster(p, upstream)
	return upstream.Together
}

// Route sets what the policy says about routes. What an HTTPRoute itself says wins, so it is to be applied afterwards. A nil
// policy sets nothing.
func (k Kind) Route(p Object, route *routev3.Route) {
	for f := range k.features {
		f.route(p, route)
	}
}

// Sources tells from where connections may come that are forwarded without looking into them, nil if the policy does not care. At most one
// feature of a kind does.
func (k Kind) Sources(p Object) *feature.Sources {
	for f := range k.features {
		if sources := f.sources(p); sources != nil {
			return sources
		}
	}
	return nil
}

// Filters makes the HTTP filters of all features, in order and disabled. Every connection manager holds them all, and
// the router after them.
func Filters() []*hcmv3.HttpFilter {
	var filters []*hcmv3.HttpFilter
	for _, f := range features {
		if f.filter != nil {
			filters = append(filters, f.filter())
		}
	}
	return filters
}

// Settings encodes what is set on an upstream: equal settings are equal bytes, in every replica and after every restart.
func Settings(upstream *feature.Upstream) []byte {
	cluster, http := encode(upstream.Cluster), encode(upstream.HTTP)
	// The length keeps bytes of one message from being taken for the other's.
	return slices.Concat(binary.AppendUvarint(nil, uint64(len(cluster))), cluster, http)
}

func encode(message proto.Message) []byte {
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(message)
	if err != nil {
		panic("encoding the settings of a cluster: " + err.Error())
	}
	return encoded
}

// features yields the kind's own features, in order.
func (k Kind) features(yield func(bound) bool) {
	for _, f := range features {
		if f.kind == k.Kind && !yield(f) {
			return
		}
	}
}

// bound is a feature that knows how to find its spec in a policy, so that features of different kinds fit in one list.
type bound struct {
	kind    string
	name    string
	check   func(Object) []verdict.Problem
	cluster func(Object, *feature.Upstream)
	route   func(Object, *routev3.Route)
	sources func(Object) *feature.Sources
	filter  func() *hcmv3.HttpFilter
}

// binder binds features of spec S to the policies P that hold it.
func binder[P Object, S any](kind string, spec func(P) *S) func(feature.Feature[S]) bound {
	of := func(p Object) *S {
		if p == nil {
			return new(S)
		}
		return spec(p.(P))
	}
	return func(f feature.Feature[S]) bound {
		return bound{
			kind:  kind,
			name:  f.Name,
			check: func(p Object) []verdict.Problem { return f.Check(of(p)) },
			cluster: func(p Object, upstream *feature.Upstream) {
				if f.Cluster != nil {
					f.Cluster(of(p), upstream)
				}
			},
			route: func(p Object, route *routev3.Route) {
				if f.Route != nil && p != nil {
					f.Route(of(p), p.GetNamespace()+"/"+p.GetName(), route)
				}
			},
			sources: func(p Object) *feature.Sources {
				if f.Sources == nil || p == nil {
					return nil
				}
				return f.Sources(of(p))
			},
			filter: f.Filter,
		}
	}
}
