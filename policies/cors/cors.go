// Package cors is the cors part of a SecurityPolicy: which web origins may call from a browser.
package cors

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// Filter is the name of the HTTP filter.
const Filter = "envoy.filters.http.cors"

// Feature is the cors part. A CORS filter of an HTTPRoute wins over it: it is set on the route afterwards, under the same
// name.
var Feature = feature.Feature[v1alpha1.SecurityPolicySpec]{
	Name:   "cors",
	Check:  check,
	Route:  route,
	Filter: func() *hcmv3.HttpFilter { return feature.DisabledFilter(Filter, &corsv3.Cors{}) },
}

// wildcard stands for any method or header.
const wildcard = "*"

// methods is what a wildcard among the methods stands for when credentials are allowed: browsers take * literally then (Fetch
// standard, section 3.3.5). They send no other method from a page.
var methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

func check(spec *v1alpha1.SecurityPolicySpec) []verdict.Problem {
	if spec.CORS == nil {
		return nil
	}
	var problems []verdict.Problem
	for i, origin := range spec.CORS.AllowOrigins {
		if _, err := matcher(origin); err != nil {
			problems = append(problems, feature.Invalid(fmt.Sprintf("spec.cors.allowOrigins[%d]", i), "%v", err))
		}
	}
	problems = append(problems, checkTokens("spec.cors.allowMethods", spec.CORS.AllowMethods, "name of a method")...)
	problems = append(problems, checkTokens("spec.cors.allowHeaders", spec.CORS.AllowHeaders, "name of a header")...)
	problems = append(problems, checkTokens("spec.cors.exposeHeaders", spec.CORS.ExposeHeaders, "name of a header")...)
	return append(problems, feature.CheckDuration("spec.cors.maxAge", spec.CORS.MaxAge)...)
}

func checkTokens(field string, values []string, what string) []verdict.Problem {
	var problems []verdict.Problem
	for i, value := range values {
		problems = append(problems, feature.CheckToken(fmt.Sprintf("%s[%d]", field, i), value, what)...)
	}
	return problems
}

func route(spec *v1alpha1.SecurityPolicySpec, _ string, route *routev3.Route) {
	if spec.CORS == nil {
		return
	}
	config := &corsv3.CorsPolicy{
		AllowMethods:                 strings.Join(allowMethods(spec.CORS), ","),
		AllowHeaders:                 strings.Join(spec.CORS.AllowHeaders, ","),
		ExposeHeaders:                strings.Join(spec.CORS.ExposeHeaders, ","),
		ForwardNotMatchingPreflights: wrapperspb.Bool(false),
	}
	for _, origin := range spec.CORS.AllowOrigins {
		if m, err := matcher(origin); err == nil {
			config.AllowOriginStringMatch = append(config.AllowOriginStringMatch, m)
		}
	}
	if age := feature.Duration(spec.CORS.MaxAge); age != nil {
		config.MaxAge = strconv.FormatInt(int64(age.AsDuration()/time.Second), 10)
	}
	if credentials := spec.CORS.AllowCredentials; credentials != nil {
		config.AllowCredentials = wrapperspb.Bool(*credentials)
	}
	feature.PerRoute(route, Filter, config)
}

func allowMethods(cors *v1alpha1.CORS) []string {
	if cors.AllowCredentials != nil && *cors.AllowCredentials && slices.Contains(cors.AllowMethods, wildcard) {
		return methods
	}
	return cors.AllowMethods
}

// exact matches one origin, as browsers write it.
func exact(origin string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: origin}}
}

// pattern matches all of an origin by an RE2 expression.
func pattern(expression string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{
		SafeRegex: &matcherv3.RegexMatcher{Regex: expression},
	}}
}
