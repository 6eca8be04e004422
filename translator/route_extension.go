package translator

import (
	"fmt"
	"slices"
	"strings"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
)

// An HTTPRouteFilter says more about the requests of the rules that refer to it. It is judged once, and what it refers to
// is looked up once, for all of them. See decision 099.

// extensionRow is an HTTPRouteFilter.
type extensionRow struct {
	Filter *v1alpha1.HTTPRouteFilter
	// Problems are all of its problems. If it is broken, so is every rule that refers to it.
	Problems []verdict.Problem
	Broken   bool
	// Have answers its needs.
	Have feature.Have
}

func (e *extensionRow) equal(o *extensionRow) bool {
	return e.Filter == o.Filter && e.Broken == o.Broken && equalProblems(e.Problems, o.Problems) && e.Have.Equal(o.Have)
}

// declareExtensions: the HTTPRouteFilters that rules refer to.
func (t *Tables) declareExtensions() {
	t.extensions = flow.Derive(t.in.filters, "HTTPRouteFilters", (*extensionRow).equal, t.extension)
}

func (t *Tables) extension(r *flow.Read, _ string, f *v1alpha1.HTTPRouteFilter) (*extensionRow, bool) {
	row := &extensionRow{Filter: f, Problems: slices.Concat(
		t.rules.Check(f), feature.Unread(f.Spec.Unread, "the rules that refer to it fail"), policies.CheckFilter(f))}
	for _, need := range policies.NeedsOfFilter(f) {
		problem := t.lookUp(r, row.ref(), &need, &row.Have)
		if problem == nil {
			continue
		}
		row.Problems = append(row.Problems, behind(policies.SpecField+"."+need.Field, []verdict.Problem{*problem})...)
	}
	row.Broken = len(row.Problems) > 0
	return row, true
}

func (e *extensionRow) ref() verdict.Ref {
	return verdict.Ref{
		Group: v1alpha1.GroupName, Kind: v1alpha1.KindHTTPRouteFilter, Namespace: e.Filter.Namespace, Name: e.Filter.Name,
	}
}

// extensionRef is a filter of a rule that refers to another object.
type extensionRef struct {
	feature.FilterAt
	To gwapiv1.LocalObjectReference
}

// extensionRefs are the references of a rule and of its backendRefs.
func extensionRefs(rule *feature.Rule) (refs []extensionRef) {
	for at, f := range feature.AllFilters(&rule.HTTPRouteRule, gwapiv1.HTTPRouteFilterExtensionRef) {
		if f.ExtensionRef != nil {
			refs = append(refs, extensionRef{at, *f.ExtensionRef})
		}
	}
	return refs
}

func (ref *extensionRef) known() bool {
	return ref.To.Group == v1alpha1.GroupName && ref.To.Kind == v1alpha1.KindHTTPRouteFilter
}

// extend adds to the rules of a route the HTTPRouteFilters that they refer to.
func (t *Tables) extend(r *flow.Read, row *routeRow) {
	for i := range row.Rules {
		rule := &row.Rules[i]
		for _, ref := range extensionRefs(rule) {
			if e, ok := t.extensions.Get(r, Key(row.Object.GetNamespace(), string(ref.To.Name))); ok && ref.known() {
				rule.Extensions = append(rule.Extensions, feature.ExtensionFilter{
					FilterAt: ref.FilterAt, Filter: e.Filter, Broken: e.Broken, Have: e.Have,
				})
			}
		}
	}
}

// judgeExtensions finds references of a rule that cannot be followed, and what is wrong with what they lead to. A rule
// with a problem answers 500 (Gateway API, HTTPRouteFilter).
func (t *Tables) judgeExtensions(r *flow.Read, route *routeRow, rule *feature.Rule) (problems []verdict.Problem) {
	for _, ref := range extensionRefs(rule) {
		if !ref.known() {
			p := verdict.WrongKind(string(ref.To.Group), string(ref.To.Kind), "be a filter of a rule, so the rule "+route.Kind.fails(),
				fmt.Sprintf("refer to an %s of group %s", v1alpha1.KindHTTPRouteFilter, v1alpha1.GroupName))
			p.Field, p.Reason = ref.Field+".extensionRef.kind", string(gwapiv1.RouteReasonInvalidKind)
			p.Condition = string(gwapiv1.RouteConditionResolvedRefs)
			problems = append(problems, p)
			continue
		}
		to := verdict.Ref{
			Group: v1alpha1.GroupName, Kind: v1alpha1.KindHTTPRouteFilter, Namespace: route.Object.GetNamespace(), Name: string(ref.To.Name),
		}
		e, ok := t.extensions.Get(r, Key(to.Namespace, to.Name))
		if !ok {
			p := verdict.Absent(ref.Field+".extensionRef.name", to, string(gwapiv1.RouteReasonBackendNotFound))
			p.Condition = string(gwapiv1.RouteConditionResolvedRefs)
			problems = append(problems, p)
			continue
		}
		for _, p := range e.Problems {
			p.Message = fmt.Sprintf("%s %s/%s %s", to.Kind, to.Namespace, to.Name, p)
			p.Field, p.About = ref.Field+".extensionRef", &to
			if p.Reason == string(gwapiv1.PolicyReasonInvalid) {
				p.Reason = string(gwapiv1.RouteReasonUnsupportedValue)
			}
			problems = append(problems, p)
		}
	}
	return problems
}

// extensionStatus has the verdict on an HTTPRouteFilter, which has no status.
func (t *Tables) extensionStatus(r *flow.Read, key string, e *extensionRow) (*Status, bool) {
	problems := e.Problems
	if t.refersElsewhere(r, t.routesByFilter, key) {
		problems = nil
	}
	return newStatus(e.Filter, problems, nil), true
}

// namedFilters are the keys of the HTTPRouteFilters that a route refers to.
func namedFilters(_ string, route *routeRow) (keys []string) {
	for i := range route.Rules {
		for _, ref := range extensionRefs(&route.Rules[i]) {
			if ref.known() {
				keys = append(keys, Key(route.Object.GetNamespace(), string(ref.To.Name)))
			}
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// credentialPrefix begins the names of credentials in Envoy.
const credentialPrefix = "credential/"

// credentialNamed is the secret that a cluster needs under a name; ok is false if the name is not one of a credential.
func (t *Tables) credentialNamed(r *flow.Read, name string) (res *Resource, ok bool) {
	secret, ok := strings.CutPrefix(name, credentialPrefix)
	if !ok {
		return nil, false
	}
	secret, key, _ := strings.Cut(secret, "#")
	s, found := t.in.secrets.Get(r, secret)
	if !found || len(s.Data[key]) == 0 {
		return nil, true
	}
	return resource(&tlsv3.Secret{Name: name, Type: &tlsv3.Secret_GenericSecret{
		GenericSecret: &tlsv3.GenericSecret{Secret: inlineBytes(s.Data[key])},
	}}, name), true
}

func credentialName(of verdict.Ref, key string) string {
	return fmt.Sprintf("%s%s/%s#%s", credentialPrefix, of.Namespace, of.Name, key)
}

// shapingClusters are the HTTPRouteFilters of a rule that shape the cluster of one of its backends.
func shapingClusters(rule *feature.Rule, backend int) (shaping []feature.ExtensionFilter) {
	for _, e := range rule.Extensions {
		if (e.Backend == backend || e.Backend < 0) && policies.ShapesClusters(e) {
			shaping = append(shaping, e)
		}
	}
	return shaping
}

// extensionBytes distinguish the clusters of backends with different HTTPRouteFilters.
func extensionBytes(b backend) []byte {
	if len(b.Extensions) == 0 {
		return nil
	}
	u := feature.NewUpstream()
	for _, e := range b.Extensions {
		policies.ClusterOfExtension(e, u)
	}
	return policies.Settings(u)
}

// credentials are the names of the secrets with the credentials that the cluster adds to requests.
func (c *clusterUse) credentials() (names []string) {
	for _, e := range c.Backends[0].Extensions {
		for _, name := range e.Have.Secrets {
			names = append(names, name)
		}
	}
	return names
}
