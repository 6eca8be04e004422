package ratelimit

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode"

	"k8s.io/utils/ptr"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// maxRequests is the largest limit.
const maxRequests = math.MaxUint32

// maxCost is the largest cost that Envoy takes from a policy.
const maxCost = 1_000_000_000

// The reasons of condition FieldsEffective: for what Envoys that count for themselves cannot do, for limits of another
// type than the policy asks for, and for limits that the policy does not write itself.
const (
	reasonLocal    = "OnlyForGlobal"
	reasonType     = "OnlyForType"
	reasonMetadata = "LimitFromMetadata"
)

func check(spec *v1alpha1.BackendTrafficPolicySpec) []verdict.Problem {
	if spec.RateLimit == nil {
		return nil
	}
	problems := slices.Concat(checkHalves(spec.RateLimit), checkLocal(local(spec)), checkGlobal(global(spec)))
	for _, others := range inherited(spec) {
		problems = append(problems, slices.DeleteFunc(checkGlobal(others.Rules), effectless)...)
	}
	return problems
}

// effectless reports whether a problem is that a field has no effect, which the policy that wrote it says.
func effectless(p verdict.Problem) bool { return p.Weight != verdict.Invalid }

// checkHalves finds a policy without limits, and halves of it that are not read.
func checkHalves(limit *v1alpha1.RateLimitSpec) (problems []verdict.Problem) {
	written := map[v1alpha1.RateLimitType]bool{
		v1alpha1.LocalRateLimitType: limit.Local != nil, v1alpha1.GlobalRateLimitType: limit.Global != nil,
	}
	if limit.Local == nil && limit.Global == nil {
		return []verdict.Problem{feature.Invalid("rateLimit", "there is no limit: set local or global, or remove rateLimit")}
	}
	if limit.Type == nil {
		return nil
	}
	kind := *limit.Type
	if problems := feature.CheckChoice("rateLimit.type", kind, written); len(problems) > 0 {
		return problems
	}
	if !written[kind] {
		return []verdict.Problem{feature.Invalid("rateLimit.type",
			"with type %s only %s is read, and it is not set: set it, or leave type out", kind, strings.ToLower(string(kind)))}
	}
	for other, there := range written {
		if there && other != kind {
			problems = append(problems, feature.WithoutEffect("rateLimit."+strings.ToLower(string(other)), reasonType,
				"with type %s only %s is read, so this has no effect: leave type out, or remove this", kind,
				strings.ToLower(string(kind))))
		}
	}
	return problems
}

func checkLocal(limits []v1alpha1.RateLimitRule) (problems []verdict.Problem) {
	base := -1
	for i := range limits {
		field := fmt.Sprintf("rateLimit.local.rules[%d]", i)
		problems = append(problems, checkRule(field, &limits[i])...)
		problems = append(problems, checkLocalRule(field, &limits[i])...)
		if !open(&limits[i]) {
			continue
		}
		if base >= 0 {
			problems = append(problems, feature.Invalid(field, "rules[%d] has no clientSelectors either: add some to one of both, or remove one", base))
			continue
		}
		if base = i; len(limits) > 1 {
			problems = append(problems, checkBase(field, &limits[i])...)
		}
	}
	return append(problems, checkUnits(limits, base)...)
}

// checkLocalRule finds what Envoys that count for themselves cannot do.
func checkLocalRule(field string, rule *v1alpha1.RateLimitRule) (problems []verdict.Problem) {
	const way = "a local limit has none: remove it, or write the rule into global"
	if rule.Limit.FromMetadata != nil {
		problems = append(problems, feature.Invalid(field+".limit.fromMetadata", way))
	}
	if rule.Cost != nil && rule.Cost.Response != nil {
		problems = append(problems, feature.Invalid(field+".cost.response", way))
	}
	if ptr.Deref(rule.Shared, false) {
		problems = append(problems, feature.WithoutEffect(field+".shared", reasonLocal,
			"each match of a route counts for itself in a local limit, so this has no effect: leave it out"))
	}
	return problems
}

func checkGlobal(limits []v1alpha1.RateLimitRule) (problems []verdict.Problem) {
	for i := range limits {
		field, rule := fmt.Sprintf("rateLimit.global.rules[%d]", i), &limits[i]
		problems = append(problems, checkRule(field, rule)...)
		from := rule.Limit.FromMetadata
		if from == nil {
			continue
		}
		if from.Namespace == "" || from.Key == "" {
			problems = append(problems, feature.Invalid(field+".limit.fromMetadata",
				"a place in metadata has a namespace and a key: write both"))
		}
		if ptr.Deref(rule.ShadowMode, false) {
			problems = append(problems, feature.WithoutEffect(field+".shadowMode", reasonMetadata,
				"a limit that comes from metadata denies requests even so: remove shadowMode or limit.fromMetadata"))
		}
	}
	return problems
}

// checkBase finds what a rule without clientSelectors cannot have beside others: it counts the requests that those do
// not count, and Envoy can do nothing else with these.
func checkBase(field string, rule *v1alpha1.RateLimitRule) (problems []verdict.Problem) {
	const way = "add clientSelectors, such as path with value /, which then count all requests"
	if rule.Limit.Requests == 0 {
		problems = append(problems, feature.Invalid(field+".limit.requests",
			"a rule without clientSelectors beside others must allow a request: %s", way))
	}
	if requestCost(rule) != nil {
		problems = append(problems, feature.Invalid(field+".cost",
			"a rule without clientSelectors beside others has no cost: %s", way))
	}
	return problems
}

// checkUnits finds units that are no multiples of the unit of the rule without clientSelectors. Envoy fills all buckets
// by one clock.
func checkUnits(limits []v1alpha1.RateLimitRule, base int) (problems []verdict.Problem) {
	if base < 0 {
		return nil
	}
	with := units[limits[base].Limit.Unit]
	for i := range limits {
		if unit, ok := units[limits[i].Limit.Unit]; ok && with > 0 && unit%with != 0 {
			problems = append(problems, feature.Invalid(fmt.Sprintf("rateLimit.local.rules[%d].limit.unit", i),
				"%s is not a multiple of %s, the unit of rules[%d], which has no clientSelectors: write a longer unit here or a shorter one there",
				limits[i].Limit.Unit, limits[base].Limit.Unit, base))
		}
	}
	return problems
}

func checkRule(field string, rule *v1alpha1.RateLimitRule) (problems []verdict.Problem) {
	for i := range rule.ClientSelectors {
		problems = append(problems, checkSelector(fmt.Sprintf("%s.clientSelectors[%d]", field, i), &rule.ClientSelectors[i])...)
	}
	if n := rule.Limit.Requests; n < 0 || n > maxRequests {
		problems = append(problems, feature.Invalid(field+".limit.requests", "%d is out of range: write 0 to %d", n,
			uint32(maxRequests)))
	}
	problems = append(problems, feature.CheckChoice(field+".limit.unit", rule.Limit.Unit, units)...)
	if rule.Cost != nil {
		problems = append(problems, checkCost(field+".cost.request", rule.Cost.Request)...)
		problems = append(problems, checkCost(field+".cost.response", rule.Cost.Response)...)
	}
	if h := rule.XRateLimitHeaders; h != nil {
		problems = append(problems, feature.CheckChoice(field+".xRateLimitHeaders", *h, headerOptions)...)
	}
	return problems
}

// costs are the sources of costs.
var costs = map[v1alpha1.RateLimitCostFrom]bool{
	v1alpha1.RateLimitCostFromNumber: true, v1alpha1.RateLimitCostFromMetadata: true,
}

func checkCost(field string, cost *v1alpha1.RateLimitCostSpecifier) []verdict.Problem {
	if cost == nil {
		return nil
	}
	problems := feature.CheckChoice(field+".from", cost.From, costs)
	byNumber := cost.From == v1alpha1.RateLimitCostFromNumber
	switch {
	case len(problems) > 0:
	case byNumber && (cost.Number == nil || cost.Metadata != nil):
		problems = []verdict.Problem{feature.Invalid(field, "a cost from Number is a number: set number, and not metadata")}
	case !byNumber && (cost.Metadata == nil || cost.Number != nil):
		problems = []verdict.Problem{feature.Invalid(field,
			"a cost from Metadata is in the metadata of the request: set metadata, and not number")}
	}
	if n := cost.Number; n != nil && (*n < 0 || *n > maxCost) {
		problems = append(problems, feature.Invalid(field+".number", "%d is out of range: write 0 to %d", *n, maxCost))
	}
	return append(problems, checkMetadata(field+".metadata", cost.Metadata)...)
}

func checkMetadata(field string, at *v1alpha1.RateLimitCostMetadata) (problems []verdict.Problem) {
	if at == nil {
		return nil
	}
	for _, part := range []struct{ name, text string }{{"namespace", at.Namespace}, {"key", at.Key}} {
		if part.text == "" || strings.ContainsAny(part.text, ":()%") {
			problems = append(problems, feature.Invalid(field+"."+part.name,
				"%q cannot be a name in metadata: write a text without colons, parentheses and percent signs", part.text))
		}
	}
	return problems
}

func checkSelector(field string, s *v1alpha1.RateLimitSelectCondition) (problems []verdict.Problem) {
	if len(s.Headers) == 0 && len(s.Methods) == 0 && s.Path == nil && s.SourceCIDR == nil && len(s.QueryParams) == 0 {
		return []verdict.Problem{feature.Invalid(field,
			"it has no condition: set headers, methods, path, sourceCIDR or queryParams, or remove it")}
	}
	for i, h := range s.Headers {
		at := fmt.Sprintf("%s.headers[%d]", field, i)
		problems = append(problems, feature.CheckHeaderName(at+".name", h.Name)...)
		problems = append(problems, checkValue(at, h.Name, h.Type, h.Value, h.Invert)...)
	}
	for i, m := range s.Methods {
		problems = append(problems, feature.CheckToken(fmt.Sprintf("%s.methods[%d].value", field, i), string(m.Value),
			"name of a method")...)
	}
	problems = append(problems, checkPath(field+".path", s.Path)...)
	problems = append(problems, checkSource(field+".sourceCIDR", s.SourceCIDR)...)
	for i, q := range s.QueryParams {
		at := fmt.Sprintf("%s.queryParams[%d]", field, i)
		if q.Name == "" {
			problems = append(problems, feature.Invalid(at+".name", "a parameter has a name: write it"))
		}
		problems = append(problems, checkValue(at, q.Name, q.Type, q.Value, q.Invert)...)
	}
	return problems
}

// valueTypes are the ways to compare a value.
var valueTypes = map[v1alpha1.RateLimitValueMatchType]bool{
	v1alpha1.RateLimitMatchExact: true, v1alpha1.RateLimitMatchRegularExpression: true, v1alpha1.RateLimitMatchDistinct: true,
}

// checkValue judges how the value of a header or a parameter is compared.
func checkValue(field, name string, kind *v1alpha1.RateLimitValueMatchType, value *string, invert *bool) []verdict.Problem {
	how := ptr.Deref(kind, v1alpha1.RateLimitMatchExact)
	if problems := feature.CheckChoice(field+".type", how, valueTypes); len(problems) > 0 {
		return problems
	}
	switch {
	case how == v1alpha1.RateLimitMatchDistinct && ptr.Deref(invert, false):
		return []verdict.Problem{feature.Invalid(field+".invert",
			"each value has a limit of its own, so there is nothing to invert: remove invert, or write another type")}
	case how == v1alpha1.RateLimitMatchDistinct && strings.ContainsFunc(name, inOperator):
		return []verdict.Problem{feature.Invalid(field+".name",
			"Envoy cannot tell the values of %q apart: write a name without percent signs, colons, parentheses and spaces, or another type",
			name)}
	case how == v1alpha1.RateLimitMatchDistinct:
		return nil
	case value == nil:
		return []verdict.Problem{feature.Invalid(field+".value", "type %s compares with a value: set it, or write type Distinct", how)}
	case how == v1alpha1.RateLimitMatchRegularExpression:
		return feature.CheckExpression(field+".value", *value)
	}
	return nil
}

// inOperator reports whether a command operator of Envoy cannot have the character in a name.
func inOperator(r rune) bool {
	return strings.ContainsRune("%:()", r) || unicode.IsSpace(r) || unicode.IsControl(r)
}

// pathTypes are the ways to compare a path.
var pathTypes = map[gwapiv1.PathMatchType]bool{
	gwapiv1.PathMatchExact: true, gwapiv1.PathMatchPathPrefix: true, gwapiv1.PathMatchRegularExpression: true,
}

func checkPath(field string, path *v1alpha1.RateLimitPathMatch) []verdict.Problem {
	if path == nil {
		return nil
	}
	kind, value := ptr.Deref(path.Type, gwapiv1.PathMatchPathPrefix), ptr.Deref(path.Value, "/")
	problems := feature.CheckChoice(field+".type", kind, pathTypes)
	switch {
	case kind == gwapiv1.PathMatchRegularExpression:
		problems = append(problems, feature.CheckExpression(field+".value", value)...)
	case !strings.HasPrefix(value, "/"):
		problems = append(problems, feature.Invalid(field+".value", "%q is not a path: write one that begins with /", value))
	}
	return problems
}

// sourceTypes say whether clients share a limit.
var sourceTypes = map[v1alpha1.RateLimitSourceMatchType]bool{
	v1alpha1.RateLimitSourceExact: true, v1alpha1.RateLimitSourceDistinct: true,
}

func checkSource(field string, source *v1alpha1.RateLimitSourceMatch) []verdict.Problem {
	if source == nil {
		return nil
	}
	problems := feature.CheckChoice(field+".type", ptr.Deref(source.Type, v1alpha1.RateLimitSourceExact), sourceTypes)
	if _, err := feature.ParsePrefix(source.Value); err != nil {
		problems = append(problems, feature.Invalid(field+".value", "%v", err))
	}
	return problems
}
