// Package cors is the cors part of a SecurityPolicy, and the CORS filter of an HTTPRoute: which web origins may send
// requests from a browser.
package cors

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// filter is the name of the HTTP filter.
const filter = "envoy.filters.http.cors"

// Feature is the cors part. A CORS filter of an HTTPRoute wins: it is set on the route afterwards, under the same name.
var Feature = feature.Feature[v1alpha1.SecurityPolicySpec]{
	Name:  "cors",
	Check: check,
	Route: route,
	Cost:  cost,
	Effective: func(spec *v1alpha1.SecurityPolicySpec, _ feature.Have, e *feature.Effective) {
		if spec.CORS != nil {
			e.CORS = settingsOf(spec.CORS).effective()
		}
	},
	Traits: func(spec *v1alpha1.SecurityPolicySpec) feature.Traits {
		return feature.Traits{Preflights: spec.CORS != nil}
	},
	Filters: []feature.Filter{{Name: filter, Config: &corsv3.Cors{}}},
}

// wildcard stands for any method or header.
const wildcard = "*"

func check(spec *v1alpha1.SecurityPolicySpec) []verdict.Problem {
	if spec.CORS == nil {
		return nil
	}
	problems := feature.CheckOrigins("cors.allowOrigins", spec.CORS.AllowOrigins)
	problems = append(problems, checkTokens("cors.allowMethods", spec.CORS.AllowMethods, "name of a method")...)
	problems = append(problems, checkTokens("cors.allowHeaders", spec.CORS.AllowHeaders, "name of a header")...)
	problems = append(problems, checkTokens("cors.exposeHeaders", spec.CORS.ExposeHeaders, "name of a header")...)
	return append(problems, feature.CheckDuration("cors.maxAge", spec.CORS.MaxAge)...)
}

func checkTokens(field string, values []string, what string) []verdict.Problem {
	var problems []verdict.Problem
	for i, value := range values {
		problems = append(problems, feature.CheckToken(fmt.Sprintf("%s[%d]", field, i), value, what)...)
	}
	return problems
}

func route(spec *v1alpha1.SecurityPolicySpec, _ feature.Have, route *feature.Route) {
	if spec.CORS != nil {
		settingsOf(spec.CORS).set(route.Route)
	}
}

func settingsOf(spec *v1alpha1.CORS) *settings {
	s := &settings{
		origins: textsOf(spec.AllowOrigins), methods: spec.AllowMethods, headers: spec.AllowHeaders,
		exposed: spec.ExposeHeaders, credentials: spec.AllowCredentials,
	}
	if age := feature.Duration(spec.MaxAge); age != nil {
		s.maxAge = strconv.FormatInt(int64(age.AsDuration()/time.Second), 10)
	}
	return s
}

func cost(spec *v1alpha1.SecurityPolicySpec) feature.Cost {
	if spec.CORS == nil {
		return feature.Cost{}
	}
	return feature.Cost{Route: feature.OriginsCost(spec.CORS.AllowOrigins)}
}

// settings are the common settings of a SecurityPolicy and an HTTPRoute filter.
type settings struct {
	origins, methods, headers, exposed []string
	// maxAge is in seconds; empty means that it is not set.
	maxAge      string
	credentials *bool
}

func (s *settings) envoy() *corsv3.CorsPolicy {
	exposed := s.exposed
	if s.credentials != nil && *s.credentials {
		// With credentials, browsers treat * as the name of a header (Fetch standard, section 3.3.5).
		exposed = slices.DeleteFunc(slices.Clone(exposed), func(name string) bool { return name == wildcard })
	}
	config := &corsv3.CorsPolicy{
		AllowMethods:                 list(s.methods),
		AllowHeaders:                 list(s.headers),
		ExposeHeaders:                strings.Join(exposed, ","),
		MaxAge:                       s.maxAge,
		ForwardNotMatchingPreflights: wrapperspb.Bool(false),
	}
	config.AllowOriginStringMatch = feature.Origins(s.origins, feature.Origin.Header)
	if s.credentials != nil {
		config.AllowCredentials = wrapperspb.Bool(*s.credentials)
	}
	return config
}

// effective is what the settings say to those who judge them.
func (s *settings) effective() *feature.CORS {
	return &feature.CORS{
		AllowOrigins: s.origins, AllowMethods: s.methods, AllowHeaders: s.headers, ExposeHeaders: s.exposed,
		AllowCredentials: s.credentials,
	}
}

// list joins values. Envoy answers a lone wildcard with the values that the browser asks for. This is right with
// credentials too, when browsers would treat * literally.
func list(values []string) string {
	if slices.Contains(values, wildcard) {
		return wildcard
	}
	return strings.Join(values, ",")
}

func textsOf[T ~string](values []T) []string {
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = string(v)
	}
	return texts
}
