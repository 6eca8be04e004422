package policies

import (
	"strings"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// What features are bound to. Each binder finds the part of an object that its features are about.
var (
	security = binder(v1alpha1.KindSecurityPolicy, SpecField,
		func(p *v1alpha1.SecurityPolicy) *v1alpha1.SecurityPolicySpec {
			return &p.Spec
		})
	// traffic binds features of routes and their requests.
	traffic = binder(v1alpha1.KindBackendTrafficPolicy, SpecField,
		func(p *v1alpha1.BackendTrafficPolicy) *v1alpha1.BackendTrafficPolicySpec {
			return &p.Spec
		})
	// settings binds features of ClusterSettings, the part of a BackendTrafficPolicy that other kinds have for single
	// backends.
	settings = binder(v1alpha1.KindBackendTrafficPolicy, SpecField,
		func(p *v1alpha1.BackendTrafficPolicy) *v1alpha1.ClusterSettings {
			return &p.Spec.ClusterSettings
		})
	listeners = binder(v1alpha1.KindClientTrafficPolicy, SpecField,
		func(p *v1alpha1.ClientTrafficPolicy) *v1alpha1.ClientTrafficPolicySpec {
			return &p.Spec
		})
	rule    = binder(ruleKind, "", func(r *feature.Rule) *gwapiv1.HTTPRouteRule { return &r.HTTPRouteRule })
	gateway = binder(gatewayKind, SpecField, func(g *gwapiv1.Gateway) *gwapiv1.GatewaySpec { return &g.Spec })
)

// These stand for what is not a policy in the list of features.
const (
	ruleKind    = "HTTPRouteRule"
	gatewayKind = "Gateway"
)

// features yields the kind's own features, in order.
func (k Kind) features(yield func(bound) bool) { featuresOf(k.Kind)(yield) }

// featuresOf yields the features of a kind of policy or of the rules of routes, in order.
func featuresOf(kind string) func(yield func(bound) bool) {
	return func(yield func(bound) bool) {
		for _, f := range features {
			if f.kind == kind && !yield(f) {
				return
			}
		}
	}
}

// bound is a feature that knows how to find its spec in a policy or a rule, so that all features fit in one list. The
// functions take the policy or the rule; nil has an empty spec.
type bound struct {
	kind   string
	name   string
	folder string
	types  []gwapiv1.HTTPRouteFilterType
	check  func(any) []verdict.Problem
	// asks is nil if the feature refers to nothing.
	asks       func(any) []feature.Need
	keys       []feature.ContentKey
	cluster    func(any, feature.Have, *feature.Upstream)
	route      func(any, feature.Have, *feature.Route)
	settle     func(any, *feature.Route)
	listener   func(any, feature.Have, *feature.Listener)
	share      func(rule any, backend int, share *feature.Share)
	conditions func(any) []feature.Condition
	cost       func(any) feature.Cost
	traits     func(any) feature.Traits
	connection func(any, feature.Have, *feature.Connection)
	effective  func(any, feature.Have, *feature.Effective)
	filters    []feature.Filter

	tells, shapesListeners, shapesRoutes bool
}

// folders begin the names of the folders of a kind's features, where other kinds have features of the same names.
var folders = map[string]string{v1alpha1.KindClientTrafficPolicy: "client"}

// binder binds features of spec S to the policies or rules P that hold it, at a path.
func binder[P, S any](kind, path string, spec func(P) *S) func(feature.Feature[S]) bound {
	empty := new(S) // Features only read it.
	of := func(p any) *S {
		if p == nil {
			return empty
		}
		return spec(p.(P))
	}
	return func(f feature.Feature[S]) bound {
		return bound{
			kind:   kind,
			name:   f.Name,
			folder: folders[kind] + strings.ToLower(f.Name),
			types:  f.Types,
			check: func(p any) []verdict.Problem {
				if f.Check == nil {
					return nil
				}
				if path == "" {
					return f.Check(of(p))
				}
				return verdict.At(path, f.Check(of(p)))
			},
			asks: needsBy(of, f.Needs),
			cost: func(p any) feature.Cost {
				if f.Cost == nil {
					return feature.Cost{}
				}
				return f.Cost(of(p))
			},
			traits: func(p any) feature.Traits {
				if f.Traits == nil {
					return feature.Traits{}
				}
				return f.Traits(of(p))
			},
			keys: f.Keys,
			settle: func(p any, route *feature.Route) {
				if f.Settle != nil {
					f.Settle(of(p), route)
				}
			},
			cluster:    hook(&f, of, f.Cluster),
			route:      hook(&f, of, f.Route),
			listener:   hook(&f, of, f.Listener),
			connection: hook(&f, of, f.Connection),
			effective:  hook(&f, of, f.Effective),
			filters:    f.Filters,
			share:      shareBy(of, f.Share),

			tells:           f.Effective != nil,
			shapesListeners: f.Listener != nil,
			shapesRoutes:    f.Cluster != nil || f.Route != nil || f.Connection != nil || f.Filters != nil,
		}
	}
}

// needs lists what the feature refers to.
func (b bound) needs(p any) []feature.Need {
	if b.asks == nil {
		return nil
	}
	return b.asks(p)
}

func needsBy[S any](of func(any) *S, needs func(*S) []feature.Need) func(any) []feature.Need {
	if needs == nil {
		return nil
	}
	return func(p any) []feature.Need { return needs(of(p)) }
}

// shareBy lets a feature of rules set its part on the share of a backend by its number. It is nil if the feature has none.
func shareBy[S any](of func(any) *S, share func(*S, *feature.Share)) func(any, int, *feature.Share) {
	if share == nil {
		return nil
	}
	return func(r any, backend int, on *feature.Share) {
		filters := r.(*feature.Rule).BackendRefs[backend].Filters
		share(of(&feature.Rule{HTTPRouteRule: gwapiv1.HTTPRouteRule{Filters: filters}}), on)
	}
}

// hook is a function of a feature that finds the spec in a policy or a rule, and gets the answers to the feature's own
// needs only. One that the feature does not have does nothing.
func hook[S, T any](f *feature.Feature[S], of func(any) *S, does func(*S, feature.Have, *T)) func(any, feature.Have,
	*T) {
	return func(p any, have feature.Have, on *T) {
		if does == nil {
			return
		}
		spec, own := of(p), feature.Have{}
		if f.Needs != nil {
			own = have.For(f.Needs(spec))
		}
		does(spec, own, on)
	}
}
