// Package authorization is the authorization part of a SecurityPolicy: which clients are allowed and which are denied.
package authorization

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	rbacconfigv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	networkv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/network/v3"
	ipv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/input_matchers/ip/v3"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// Filter is the name of the HTTP filter.
const Filter = "envoy.filters.http.rbac"

// Feature is the authorization part.
var Feature = feature.Feature[v1alpha1.SecurityPolicySpec]{
	Name:       "authorization",
	Check:      check,
	Route:      route,
	Connection: connection,
	Effective:  effective,
	Filters: []feature.Filter{{
		Name: Filter, Config: &rbacv3.RBAC{},
		Off: &rbacv3.RBACPerRoute{}, // Without a configuration in it, the filter decides nothing.
	}},
}

// actions has Envoy's name of each action.
var actions = map[v1alpha1.AuthorizationAction]rbacconfigv3.RBAC_Action{
	v1alpha1.AuthorizationActionAllow: rbacconfigv3.RBAC_ALLOW,
	v1alpha1.AuthorizationActionDeny:  rbacconfigv3.RBAC_DENY,
}

// ruling is a rule that was read.
type ruling struct {
	name    string
	action  v1alpha1.AuthorizationAction
	clients []netip.Prefix
}

func check(spec *v1alpha1.SecurityPolicySpec) []verdict.Problem {
	_, problems := read(spec)
	return problems
}

// read reads the rules, each range once.
func read(spec *v1alpha1.SecurityPolicySpec) (rulings []ruling, problems []verdict.Problem) {
	if spec.Authorization == nil {
		return nil, nil
	}
	for i, rule := range spec.Authorization.Rules {
		field := fmt.Sprintf("authorization.rules[%d]", i)
		clients, wrong := readPrincipal(field+".principal", rule.Principal)
		problems = slices.Concat(problems, checkAction(field+".action", rule.Action), wrong)
		read := ruling{action: rule.Action, clients: clients}
		if rule.Name != nil {
			read.name = *rule.Name
		}
		rulings = append(rulings, read)
	}
	if action := spec.Authorization.DefaultAction; action != nil {
		problems = append(problems, checkAction("authorization.defaultAction", *action)...)
	}
	return rulings, problems
}

func checkAction(field string, action v1alpha1.AuthorizationAction) []verdict.Problem {
	if _, ok := actions[action]; ok {
		return nil
	}
	return []verdict.Problem{feature.Invalid(field, "%q is not an action: write Allow or Deny", action)}
}

func readPrincipal(field string, principal *v1alpha1.Principal) (clients []netip.Prefix, problems []verdict.Problem) {
	if principal == nil || len(principal.ClientCIDRs) == 0 {
		return nil, []verdict.Problem{feature.Invalid(field+".clientCIDRs",
			"the rule names no client: add the addresses that it is about, such as 10.0.0.0/8")}
	}
	clients = make([]netip.Prefix, 0, len(principal.ClientCIDRs))
	for i, cidr := range principal.ClientCIDRs {
		prefix, err := feature.ParsePrefix(string(cidr))
		if err != nil {
			problems = append(problems, feature.Invalid(fmt.Sprintf("%s.clientCIDRs[%d]", field, i), "%v", err))
			continue
		}
		clients = append(clients, prefix)
	}
	return clients, problems
}

func route(spec *v1alpha1.SecurityPolicySpec, _ feature.Have, route *feature.Route) {
	if tree := decisions(spec, route.Owner); tree != nil {
		feature.PerRoute(route.Route, Filter, &rbacv3.RBACPerRoute{Rbac: &rbacv3.RBAC{Matcher: tree}})
	}
}

// understood returns the rules, and the action for clients that no rule matches. It is false without an authorization.
// It denies everything if the spec did not pass its check: an authorization that is only partly understood must not let
// anybody in.
func understood(spec *v1alpha1.SecurityPolicySpec) (rulings []ruling, fallback v1alpha1.AuthorizationAction, ok bool) {
	if spec.Authorization == nil {
		return nil, "", false
	}
	rulings, problems := read(spec)
	switch {
	case len(problems) > 0:
		return nil, v1alpha1.AuthorizationActionDeny, true
	case spec.Authorization.DefaultAction != nil:
		return rulings, *spec.Authorization.DefaultAction, true
	}
	return rulings, v1alpha1.AuthorizationActionDeny, true
}

// connection converts the rules into ranges. The longest matching range counts: inside a range, and outside of the
// longer ranges in it, the first matching rule is always the same. Envoy uses the ranges when it accepts a connection.
// Its authorization filter would be too late: it checks a connection when the client sends data, and the server may
// have sent data before.
func connection(spec *v1alpha1.SecurityPolicySpec, _ feature.Have, connection *feature.Connection) {
	rulings, fallback, ok := understood(spec)
	if !ok {
		return
	}
	out := &feature.Sources{}
	for prefix, rule := range firstRules(rulings) {
		action := fallback
		if rule < len(rulings) {
			action = rulings[rule].action
		}
		if action == v1alpha1.AuthorizationActionAllow {
			out.Allowed = append(out.Allowed, prefix)
		} else {
			out.Denied = append(out.Denied, prefix)
		}
	}
	slices.SortFunc(out.Allowed, netip.Prefix.Compare)
	slices.SortFunc(out.Denied, netip.Prefix.Compare)
	connection.Sources = out
}

func effective(spec *v1alpha1.SecurityPolicySpec, _ feature.Have, e *feature.Effective) {
	rulings, fallback, ok := understood(spec)
	if !ok {
		return
	}
	e.Authorization = &feature.Authorization{DefaultAction: string(fallback)}
	for _, rule := range rulings {
		told := feature.AuthorizationRule{Name: rule.name, Action: string(rule.action)}
		for _, prefix := range rule.clients {
			told.ClientCIDRs = append(told.ClientCIDRs, prefix.String())
		}
		e.Authorization.Rules = append(e.Authorization.Rules, told)
	}
}

// firstRules maps every range of a rule, and the range of all addresses, to the first rule that contains the whole
// range, or to the number of rules if there is none. In sorted order the ranges inside a range follow it, so each range
// is compared only with those around it.
func firstRules(rules []ruling) map[netip.Prefix]int {
	first := map[netip.Prefix]int{
		netip.MustParsePrefix("0.0.0.0/0"): len(rules),
		netip.MustParsePrefix("::/0"):      len(rules),
	}
	for i, rule := range rules {
		for _, prefix := range rule.clients {
			if known, ok := first[prefix]; !ok || i < known {
				first[prefix] = i
			}
		}
	}
	ranges := slices.SortedFunc(maps.Keys(first), func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	var around []netip.Prefix
	for _, prefix := range ranges {
		for len(around) > 0 && !around[len(around)-1].Contains(prefix.Addr()) {
			around = around[:len(around)-1]
		}
		if len(around) > 0 {
			first[prefix] = min(first[prefix], first[around[len(around)-1]])
		}
		around = append(around, prefix)
	}
	return first
}

// decisions returns nil without an authorization.
func decisions(spec *v1alpha1.SecurityPolicySpec, policy string) *xdsmatcherv3.Matcher {
	rulings, fallback, ok := understood(spec)
	if !ok {
		return nil
	}
	tree := &xdsmatcherv3.Matcher{OnNoMatch: decide("default", fallback)}
	var list []*xdsmatcherv3.Matcher_MatcherList_FieldMatcher
	for i, rule := range rulings {
		list = append(list, &xdsmatcherv3.Matcher_MatcherList_FieldMatcher{
			Predicate: client(rule.clients),
			OnMatch:   decide(cmp.Or(rule.name, fmt.Sprintf("%s/rule/%d", policy, i)), rule.action),
		})
	}
	if len(list) > 0 {
		tree.MatcherType = &xdsmatcherv3.Matcher_MatcherList_{MatcherList: &xdsmatcherv3.Matcher_MatcherList{Matchers: list}}
	}
	return tree
}

// decide ends the evaluation with an action.
func decide(name string, action v1alpha1.AuthorizationAction) *xdsmatcherv3.Matcher_OnMatch {
	return &xdsmatcherv3.Matcher_OnMatch{OnMatch: &xdsmatcherv3.Matcher_OnMatch_Action{
		Action: &xdscorev3.TypedExtensionConfig{
			Name:        "envoy.filters.rbac.action",
			TypedConfig: feature.Any(&rbacconfigv3.Action{Name: name, Action: actions[action]}),
		},
	}}
}

// client matches requests of clients with an address in one of the ranges. It uses the client address that Envoy has
// determined, perhaps from a trusted X-Forwarded-For.
func client(prefixes []netip.Prefix) *feature.Predicate {
	return feature.Meets("envoy.matching.inputs.source_ip", &networkv3.SourceIPInput{},
		"envoy.matching.matchers.ip", &ipv3.Ip{CidrRanges: feature.Ranges(prefixes), StatPrefix: "client"})
}
