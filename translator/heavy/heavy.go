// Package heavy makes the most costly objects that the API server admits, for tests of their cost.
package heavy

import (
	"encoding/json"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
)

// Limits of Gateway API's schema.
const (
	// Rules and Matches are those of a route, RuleMatches those of a rule.
	Rules       = 16
	Matches     = 128
	RuleMatches = 64
	// Hosts are the hostnames of a route.
	Hosts = 16
	// Listeners are those of a Gateway.
	Listeners = 64
	// entries are those of most lists; longHeader and longText are the bytes of the value of a match on a header, and
	// of others.
	entries    = 16
	longHeader = 4096
	longText   = 1024
)

// maxObject is what etcd stores, in bytes.
const maxObject = 1_500_000

const (
	// Namespace is where all is.
	Namespace = "shop"
	// Gateway is the name of the Gateway. Each of its listeners serves every host.
	Gateway = "web"
	// FirstPort is that of the first listener; the others have the ports after it.
	FirstPort = 20000
	// ServicePorts are the ports of the Service, of which the first is 1.
	ServicePorts = 512
)

// Scene is an HTTPRoute with what it refers to, and policies on it, nil for none.
type Scene struct {
	Route   *gwapiv1.HTTPRoute
	Policy  *v1alpha1.SecurityPolicy
	Traffic *v1alpha1.BackendTrafficPolicy
}

// Content is what makes a route heavy.
type Content struct {
	Rules, Matches, Hosts int
	// Match and Rule make each match and each rule heavy; nil leaves them as they are.
	Match func(i int, m *gwapiv1.HTTPRouteMatch)
	Rule  func(i int, r *gwapiv1.HTTPRouteRule)
	// Policy and Traffic are on the route if they are not nil.
	Policy  *v1alpha1.SecurityPolicySpec
	Traffic *v1alpha1.BackendTrafficPolicySpec
	// Wild has all hosts of some domains in place of exact ones.
	Wild bool
}

// Make makes the scene of a content.
func Make(c Content) Scene {
	s := Scene{Route: &gwapiv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{
		Namespace: Namespace, Name: "heavy", UID: "heavy",
		Generation: 1,
	}}}
	spec := &s.Route.Spec
	spec.ParentRefs = []gwapiv1.ParentReference{{Name: Gateway}}
	for h := range c.Hosts {
		host := fmt.Sprintf("h%d.example.com", h)
		if c.Wild {
			host = "*." + host
		}
		spec.Hostnames = append(spec.Hostnames, gwapiv1.Hostname(host))
	}
	for r := range c.Rules {
		rule := gwapiv1.HTTPRouteRule{BackendRefs: Backends(1)}
		for m := range c.Matches {
			path := gwapiv1.PathMatchPathPrefix
			match := gwapiv1.HTTPRouteMatch{Path: &gwapiv1.HTTPPathMatch{Type: &path, Value: new(fmt.Sprintf("/%d/%d", r, m))}}
			if c.Match != nil {
				c.Match(r*c.Matches+m, &match)
			}
			rule.Matches = append(rule.Matches, match)
		}
		if c.Rule != nil {
			c.Rule(r, &rule)
		}
		spec.Rules = append(spec.Rules, rule)
	}
	if c.Policy != nil {
		s.Policy = &v1alpha1.SecurityPolicy{ObjectMeta: policyMeta("policy"), Spec: *c.Policy}
		s.Policy.Spec.TargetRefs = onRoute()
	}
	if c.Traffic != nil {
		s.Traffic = &v1alpha1.BackendTrafficPolicy{ObjectMeta: policyMeta("traffic"), Spec: *c.Traffic}
		s.Traffic.Spec.TargetRefs = onRoute()
	}
	return s
}

func policyMeta(uid types.UID) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: Namespace, Name: "heavy", UID: uid, Generation: 1}
}

// onRoute are the targets of a policy on the route.
func onRoute() []gwapiv1.LocalPolicyTargetReferenceWithSectionName {
	target := gwapiv1.LocalPolicyTargetReferenceWithSectionName{}
	target.Group, target.Kind, target.Name = gwapiv1.GroupName, "HTTPRoute", "heavy"
	return []gwapiv1.LocalPolicyTargetReferenceWithSectionName{target}
}

// Objects are the route and the policies.
func (s Scene) Objects() []Object { return append([]Object{s.Route}, s.Policies()...) }

// Policies are those on the route.
func (s Scene) Policies() (all []Object) {
	if s.Policy != nil {
		all = append(all, s.Policy)
	}
	if s.Traffic != nil {
		all = append(all, s.Traffic)
	}
	return all
}

// Object is any of Kubernetes.
type Object interface {
	metav1.Object
	runtime.Object
}

// Stored reports whether etcd would take the objects.
func (s Scene) Stored() bool {
	for _, o := range s.Objects() {
		if text, err := json.Marshal(o); err != nil || len(text) > maxObject {
			return false
		}
	}
	return true
}

// Ranges is a policy with n client ranges in each of its rules.
func Ranges(rules, n int) *v1alpha1.SecurityPolicySpec {
	spec := &v1alpha1.SecurityPolicySpec{Authorization: &v1alpha1.Authorization{}}
	for r := range rules {
		rule := v1alpha1.AuthorizationRule{Action: v1alpha1.AuthorizationActionAllow, Principal: &v1alpha1.Principal{}}
		for i := range n {
			at := r*n + i
			rule.Principal.ClientCIDRs = append(rule.Principal.ClientCIDRs,
				v1alpha1.CIDR(fmt.Sprintf("10.%d.%d.%d/32", at>>16&255, at>>8&255, at&255)))
		}
		spec.Authorization.Rules = append(spec.Authorization.Rules, rule)
	}
	return spec
}

// Origins is a policy with n web origins, each of which is a pattern.
func Origins(n int) *v1alpha1.SecurityPolicySpec {
	spec := &v1alpha1.SecurityPolicySpec{CORS: &v1alpha1.CORS{}}
	for i := range n {
		spec.CORS.AllowOrigins = append(spec.CORS.AllowOrigins, v1alpha1.Origin(fmt.Sprintf("https://*.%s%d.example.com",
			strings.Repeat("abcdefghij.", 18), i)))
	}
	return spec
}
