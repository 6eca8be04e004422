// Package heavy makes objects that cost as much as the API server lets them, for tests of what they cost.
package heavy

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	// entries are those of most lists; longHeader and longText are the bytes of the value of a match on a header, and of others.
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
)

// Scene is an HTTPRoute with what it refers to, and a policy on it.
type Scene struct {
	Route  *gwapiv1.HTTPRoute
	Policy *v1alpha1.SecurityPolicy // nil if there is none
}

// Content is what makes a route heavy.
type Content struct {
	Rules, Matches, Hosts int
	// Match and Rule make each match and each rule heavy; nil leaves them as they are.
	Match func(i int, m *gwapiv1.HTTPRouteMatch)
	Rule  func(i int, r *gwapiv1.HTTPRouteRule)
	// Policy is on the route if it is not nil.
	Policy *v1alpha1.SecurityPolicySpec
}

// Make makes the scene of a content.
func Make(c Content) Scene {
	s := Scene{Route: &gwapiv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "heavy", UID: "heavy", Generation: 1}}}
	spec := &s.Route.Spec
	spec.ParentRefs = []gwapiv1.ParentReference{{Name: Gateway}}
	for h := range c.Hosts {
		spec.Hostnames = append(spec.Hostnames, gwapiv1.Hostname(fmt.Sprintf("h%d.example.com", h)))
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
		s.Policy = &v1alpha1.SecurityPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "heavy", UID: "policy", Generation: 1}, Spec: *c.Policy}
		target := gwapiv1.LocalPolicyTargetReferenceWithSectionName{}
		target.Group, target.Kind, target.Name = gwapiv1.GroupName, "HTTPRoute", "heavy"
		s.Policy.Spec.TargetRefs = []gwapiv1.LocalPolicyTargetReferenceWithSectionName{target}
	}
	return s
}

// Stored reports whether etcd would take the objects.
func (s Scene) Stored() bool {
	for _, o := range []any{s.Route, s.Policy} {
		if text, err := json.Marshal(o); err != nil || len(text) > maxObject {
			return false
		}
	}
	return true
}

// Around are the Gateway with a number of listeners, its class, a Service, and a light route with a host of its own.
func Around(controller string, listeners int) (*gwapiv1.GatewayClass, *gwapiv1.Gateway, *corev1.Service, *gwapiv1.HTTPRoute) {
	meta := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: Namespace, Name: name, UID: "around", Generation: int64(listeners)}
	}
	class := &gwapiv1.GatewayClass{ObjectMeta: meta("heavy"), Spec: gwapiv1.GatewayClassSpec{ControllerName: gwapiv1.GatewayController(controller)}}
	class.Namespace = ""
	gateway := &gwapiv1.Gateway{ObjectMeta: meta(Gateway), Spec: gwapiv1.GatewaySpec{GatewayClassName: "heavy"}}
	for i := range listeners {
		gateway.Spec.Listeners = append(gateway.Spec.Listeners, gwapiv1.Listener{
			Name: gwapiv1.SectionName(fmt.Sprintf("l%d", i)), Protocol: gwapiv1.HTTPProtocolType, Port: int32(FirstPort + i),
		})
	}
	service := &corev1.Service{ObjectMeta: meta("s"), Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}
	return class, gateway, service, Light("light")
}

// Light is a route that serves everything of the host NAME.example.com.
func Light(name string) *gwapiv1.HTTPRoute {
	route := Make(Content{Rules: 1}).Route
	route.Name, route.UID, route.Spec.Hostnames = name, types.UID(name), []gwapiv1.Hostname{gwapiv1.Hostname(name + ".example.com")}
	return route
}

// Backends refer to the Service.
func Backends(n int) []gwapiv1.HTTPBackendRef {
	refs := make([]gwapiv1.HTTPBackendRef, n)
	for i := range refs {
		refs[i].Name, refs[i].Port, refs[i].Weight = "s", new(int32(80)), new(int32(1))
	}
	return refs
}

// Headers is a filter that sets, adds and removes n headers each, of which each value has that length.
func Headers(n, length int) gwapiv1.HTTPRouteFilter {
	f := &gwapiv1.HTTPHeaderFilter{}
	for i := range n {
		f.Set = append(f.Set, gwapiv1.HTTPHeader{Name: gwapiv1.HTTPHeaderName(fmt.Sprintf("x-set-%d", i)), Value: strings.Repeat("v", length)})
		f.Add = append(f.Add, gwapiv1.HTTPHeader{Name: gwapiv1.HTTPHeaderName(fmt.Sprintf("x-add-%d", i)), Value: strings.Repeat("%", length)})
		f.Remove = append(f.Remove, fmt.Sprintf("x-remove-%d", i))
	}
	return gwapiv1.HTTPRouteFilter{Type: gwapiv1.HTTPRouteFilterRequestHeaderModifier, RequestHeaderModifier: f}
}

// CORS is a filter that has browsers ask beforehand.
func CORS() gwapiv1.HTTPRouteFilter {
	return gwapiv1.HTTPRouteFilter{Type: gwapiv1.HTTPRouteFilterCORS, CORS: &gwapiv1.HTTPCORSFilter{AllowOrigins: []gwapiv1.CORSOrigin{"https://shop.example.com"}}}
}

// Expressions gives a match n headers and n query parameters with regular expressions.
func Expressions(m *gwapiv1.HTTPRouteMatch, n int, header, query string) {
	regex, queryRegex := gwapiv1.HeaderMatchRegularExpression, gwapiv1.QueryParamMatchRegularExpression
	for i := range n {
		if header != "" {
			m.Headers = append(m.Headers, gwapiv1.HTTPHeaderMatch{Type: &regex, Name: gwapiv1.HTTPHeaderName(fmt.Sprintf("x-%d", i)), Value: header})
		}
		if query != "" {
			m.QueryParams = append(m.QueryParams, gwapiv1.HTTPQueryParamMatch{Type: &queryRegex, Name: gwapiv1.HTTPHeaderName(fmt.Sprintf("q-%d", i)), Value: query})
		}
	}
}

// Ranges is a policy with n client ranges in each of its rules.
func Ranges(rules, n int) *v1alpha1.SecurityPolicySpec {
	spec := &v1alpha1.SecurityPolicySpec{Authorization: &v1alpha1.Authorization{}}
	for r := range rules {
		rule := v1alpha1.AuthorizationRule{Action: v1alpha1.AuthorizationActionAllow, Principal: &v1alpha1.Principal{}}
		for i := range n {
			at := r*n + i
			rule.Principal.ClientCIDRs = append(rule.Principal.ClientCIDRs, v1alpha1.CIDR(fmt.Sprintf("10.%d.%d.%d/32", at>>16&255, at>>8&255, at&255)))
		}
		spec.Authorization.Rules = append(spec.Authorization.Rules, rule)
	}
	return spec
}

// Origins is a policy with n web origins, each of which is a pattern.
func Origins(n int) *v1alpha1.SecurityPolicySpec {
	spec := &v1alpha1.SecurityPolicySpec{CORS: &v1alpha1.CORS{}}
	for i := range n {
		spec.CORS.AllowOrigins = append(spec.CORS.AllowOrigins, v1alpha1.Origin(fmt.Sprintf("https://*.%s%d.example.com", strings.Repeat("abcdefghij.", 18), i)))
	}
	return spec
}

// expressions are such as cost much to be read, to be compiled, or to be kept.
var expressions = []string{
	`(?:` + strings.Repeat("a", 3000) + `){1000}`, `(?i)[B-\x{1e943}]`, strings.Repeat(`\pL`, 200), strings.Repeat("abcdefghijklmnopqrstuvwxyz0123456789", 100), `(?:[a-z]+[0-9]|[^/]){200}`,
	`((a?){30}){30}`, strings.Repeat("word|", 200), `[a-z]{1,500}`, `(?i:abcdefghij){700}`, "(", `/v[0-9]+/.*`, strings.Repeat("(a|b)?", 150),
}

// Random is a scene of random size and content, within all limits.
func Random(r *rand.Rand) Scene {
	for {
		if s := Make(random(r)); s.Stored() {
			return s
		}
	}
}

func random(r *rand.Rand) Content {
	c := Content{Rules: 1 + r.IntN(Rules), Hosts: 1 + r.IntN(Hosts)}
	c.Matches = 1 + r.IntN(min(RuleMatches, Matches/c.Rules))
	n, length := r.IntN(entries+1), 1<<r.IntN(12)
	expression := expressions[r.IntN(len(expressions))]
	if r.IntN(2) == 0 {
		c.Match = func(i int, m *gwapiv1.HTTPRouteMatch) {
			Expressions(m, n, first(expression, longHeader), first(expression, longText))
			method := gwapiv1.HTTPMethodGet
			if i%2 == 0 {
				m.Method = &method
			}
		}
	}
	if r.IntN(2) == 0 {
		backends := 1 + r.IntN(entries)
		perBackend := r.IntN(2) == 0
		c.Rule = func(_ int, rule *gwapiv1.HTTPRouteRule) {
			rule.Filters = append(rule.Filters, Headers(n, length))
			rule.BackendRefs = Backends(backends)
			for i := range rule.BackendRefs {
				if perBackend {
					rule.BackendRefs[i].Filters = []gwapiv1.HTTPRouteFilter{Headers(n, length)}
				}
			}
		}
	}
	switch r.IntN(4) {
	case 0:
		c.Policy = Ranges(1+r.IntN(8), 1+r.IntN(4000))
	case 1:
		c.Policy = Origins(1 + r.IntN(64))
	}
	return c
}

func first(s string, n int) string { return s[:min(len(s), n)] }
