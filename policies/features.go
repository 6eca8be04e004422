package policies

import (
	"bytes"
	"encoding/binary"
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/authorization"
	"gatehouse/policies/basicauth"
	"gatehouse/policies/circuitbreaker"
	"gatehouse/policies/cors"
	"gatehouse/policies/feature"
	"gatehouse/policies/loadbalancer"
	"gatehouse/policies/retry"
	"gatehouse/policies/tcpkeepalive"
	"gatehouse/policies/timeout"
	"gatehouse/policies/verdict"
)

var (
	security = binder("SecurityPolicy", func(p *v1alpha1.SecurityPolicy) *v1alpha1.SecurityPolicySpec { return &p.Spec })
	// settings binds features of ClusterSettings, the part of a BackendTrafficPolicy that other kinds have for single backends.
	settings = binder("BackendTrafficPolicy", func(p *v1alpha1.BackendTrafficPolicy) *v1alpha1.ClusterSettings {
		return &p.Spec.ClusterSettings
	})
)

// features is every feature of every kind. Its order is the order of the HTTP filters.
var features = []bound{
	security(cors.Vary),
	security(cors.Feature),
	security(basicauth.Feature),
	security(authorization.Feature),
	settings(timeout.Feature),
	settings(retry.Feature),
	settings(loadbalancer.Feature),
	settings(circuitbreaker.Feature),
	settings(tcpkeepalive.Feature),
}

// Names lists the features of the kind that have fields of their own, in order.
func (k Kind) Names() []string {
	var names []string
	for f := range k.features {
		if f.name != "" {
			names = append(names, f.name)
		}
	}
	return names
}

// Needs lists what the policy refers to, its targets apart. Fields are relative to spec.
func (k Kind) Needs(p Object) []feature.Need {
	var needs []feature.Need
	for f := range k.features {
		needs = append(needs, f.needs(p)...)
	}
	return needs
}

// Cluster sets what the policy says about clusters, defaults included. A nil policy sets the defaults.
func (k Kind) Cluster(p Object, have feature.Have, upstream *feature.Upstream) {
	for f := range k.features {
		f.cluster(p, have, upstream)
	}
}

// ShapesCluster reports whether a cluster with the policy differs from one without. A policy that repeats the defaults
// makes no difference.
func (k Kind) ShapesCluster(p Object, have feature.Have) bool {
	with, without := feature.NewUpstream(), feature.NewUpstream()
	k.Cluster(p, have, with)
	k.Cluster(nil, nil, without)
	return !bytes.Equal(Settings(with), Settings(without))
}

// Route applies the policy to a route. The settings of the HTTPRoute itself win, so they must be applied afterwards.
func (k Kind) Route(p Object, have feature.Have, route *routev3.Route) {
	built := &feature.Route{Route: route, Owner: p.GetNamespace() + "/" + p.GetName()}
	for f := range k.features {
		f.route(p, have, built)
	}
}

// Connection applies the policy to connections that are forwarded without reading their content.
func (k Kind) Connection(p Object, have feature.Have, connection *feature.Connection) {
	for f := range k.features {
		f.connection(p, have, connection)
	}
}

// Filters returns the HTTP filters of all features, in order and disabled. Every connection manager has all of them,
// and then the router.
func Filters() []*hcmv3.HttpFilter {
	var filters []*hcmv3.HttpFilter
	for _, f := range features {
		if f.filter != nil {
			filters = append(filters, f.filter())
		}
	}
	return filters
}

// off are the configurations with which filters do nothing on a route, by the name of the filter.
var off = func() map[string]*anypb.Any {
	configs := map[string]*anypb.Any{}
	for _, f := range features {
		if f.off != nil {
			configs[f.filter().Name] = feature.Any(f.off)
		}
	}
	return configs
}()

// Off returns the configuration with which a filter does nothing on a route, or nil if the filter has none
// (feature.Feature, Off). Callers must not change it.
func Off(filter string) *anypb.Any { return off[filter] }

// Settings encodes the settings of an upstream: equal settings have equal bytes, in every replica and after every
// restart.
func Settings(upstream *feature.Upstream) []byte {
	cluster, http := encode(upstream.Cluster), encode(upstream.HTTP)
	// The length prevents bytes of one message from counting as bytes of the other.
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
	kind       string
	name       string
	check      func(Object) []verdict.Problem
	needs      func(Object) []feature.Need
	keys       []feature.ContentKey
	cluster    func(Object, feature.Have, *feature.Upstream)
	route      func(Object, feature.Have, *feature.Route)
	connection func(Object, feature.Have, *feature.Connection)
	filter     func() *hcmv3.HttpFilter
	off        proto.Message
}

// binder binds features of spec S to the policies P that hold it. A nil policy has an empty spec.
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
			check: func(p Object) []verdict.Problem { return verdict.At(SpecField, f.Check(of(p))) },
			needs: func(p Object) []feature.Need {
				if f.Needs == nil {
					return nil
				}
				return f.Needs(of(p))
			},
			keys:       f.Keys,
			cluster:    hook(f.Cluster, of),
			route:      hook(f.Route, of),
			connection: hook(f.Connection, of),
			filter:     f.Filter,
			off:        f.Off,
		}
	}
}

// hook is a function of a feature that finds the spec in a policy; one that the feature does not have does nothing.
func hook[S, T any](does func(*S, feature.Have, *T), spec func(Object) *S) func(Object, feature.Have, *T) {
	return func(p Object, have feature.Have, on *T) {
		if does != nil {
			does(spec(p), have, on)
		}
	}
}
