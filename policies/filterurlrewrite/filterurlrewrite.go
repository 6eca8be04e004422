// Package filterurlrewrite is the urlRewrite part of an HTTPRouteFilter: how the host and the path are changed where
// Gateway API's filter of that name cannot say it.
package filterurlrewrite

import (
	"regexp"
	"strconv"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"k8s.io/utils/ptr"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// Feature is the urlRewrite part.
var Feature = feature.Feature[v1alpha1.HTTPRouteFilterSpec]{
	Name:  "urlRewrite",
	Check: check,
	Route: route,
	Share: share,
	Cost:  cost,
	Traits: func(spec *v1alpha1.HTTPRouteFilterSpec) feature.Traits {
		return feature.Traits{Apart: spec.URLRewrite != nil}
	},
}

var hostTypes = map[v1alpha1.HTTPHostnameModifierType]bool{
	v1alpha1.HostnameFromHeader: true, v1alpha1.HostnameFromBackend: true, v1alpha1.HostnameFromPath: true,
}

func check(spec *v1alpha1.HTTPRouteFilterSpec) (problems []verdict.Problem) {
	if spec.URLRewrite == nil {
		return nil
	}
	if host := spec.URLRewrite.Hostname; host != nil {
		problems = append(problems, feature.CheckChoice("urlRewrite.hostname.type", host.Type, hostTypes)...)
		if host.Type == v1alpha1.HostnameFromHeader && host.Header == nil {
			problems = append(problems, feature.Invalid("urlRewrite.hostname.header", "type Header needs the name of a header: write it"))
		}
		if host.Type == v1alpha1.HostnameFromPath && host.PathRegex == nil {
			problems = append(problems, feature.Invalid("urlRewrite.hostname.pathRegex", "type PathRegex needs an expression: write it"))
		}
		if host.Header != nil {
			problems = append(problems, feature.CheckHeaderName("urlRewrite.hostname.header", *host.Header)...)
		}
		problems = append(problems, checkReplacement("urlRewrite.hostname.pathRegex", host.PathRegex)...)
	}
	if path := spec.URLRewrite.Path; path != nil {
		if path.ReplaceRegexMatch == nil {
			problems = append(problems, feature.Invalid("urlRewrite.path.replaceRegexMatch", "type ReplaceRegexMatch needs an expression: write it"))
		}
		problems = append(problems, checkReplacement("urlRewrite.path.replaceRegexMatch", path.ReplaceRegexMatch)...)
	}
	return problems
}

// group is what stands for a group in a substitution, and what RE2 does not know.
var group = regexp.MustCompile(`\\(.?)`)

// checkReplacement finds expressions and substitutions that Envoy cannot use. RE2 leaves the text as it is if a
// substitution names a group that the expression does not have.
func checkReplacement(field string, r *v1alpha1.ReplaceRegexMatch) []verdict.Problem {
	if r == nil {
		return nil
	}
	problems := feature.CheckExpression(field+".pattern", r.Pattern)
	if len(problems) > 0 {
		return problems
	}
	groups := regexp.MustCompile(r.Pattern).NumSubexp()
	for _, found := range group.FindAllStringSubmatch(r.Substitution, -1) {
		switch n, err := strconv.Atoi(found[1]); {
		case found[1] == `\`:
		case err != nil:
			problems = append(problems, feature.Invalid(field+".substitution",
				`%q has a backslash before something else than a digit: write \\ for a backslash`, r.Substitution))
		case n > groups:
			problems = append(problems, feature.Invalid(field+".substitution",
				`%q names group %d, and pattern %q has %d: add groups in parentheses, or correct the number`, r.Substitution, n, r.Pattern, groups))
		}
	}
	return problems
}

func route(spec *v1alpha1.HTTPRouteFilterSpec, _ feature.Have, route *feature.Route) {
	if spec.URLRewrite == nil {
		return
	}
	action := route.Forward()
	if host := spec.URLRewrite.Hostname; host != nil {
		action.AppendXForwardedHost = ptr.Deref(spec.URLRewrite.AppendXForwardedHost, true)
		switch {
		case host.Type == v1alpha1.HostnameFromBackend:
			action.HostRewriteSpecifier = &routev3.RouteAction_AutoHostRewrite{AutoHostRewrite: wrapperspb.Bool(true)}
		case host.Type == v1alpha1.HostnameFromHeader && host.Header != nil:
			action.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteHeader{HostRewriteHeader: *host.Header}
		case host.Type == v1alpha1.HostnameFromPath && host.PathRegex != nil:
			action.HostRewriteSpecifier = &routev3.RouteAction_HostRewritePathRegex{HostRewritePathRegex: replace(host.PathRegex)}
		}
	}
	if path := spec.URLRewrite.Path; path != nil && path.ReplaceRegexMatch != nil {
		action.PrefixRewrite, action.RegexRewrite = "", replace(path.ReplaceRegexMatch)
	}
}

func replace(r *v1alpha1.ReplaceRegexMatch) *matcherv3.RegexMatchAndSubstitute {
	return &matcherv3.RegexMatchAndSubstitute{
		Pattern: &matcherv3.RegexMatcher{Regex: r.Pattern}, Substitution: r.Substitution,
	}
}

// share gives the backend a route of its own, because Envoy knows nothing of it for shares.
func share(spec *v1alpha1.HTTPRouteFilterSpec, share *feature.Share) {
	if spec.URLRewrite == nil {
		return
	}
	before := share.OnRoute
	share.OnRoute = func(own *feature.Route) {
		if before != nil {
			before(own)
		}
		route(spec, feature.Have{}, own)
	}
}

func cost(spec *v1alpha1.HTTPRouteFilterSpec) (c feature.Cost) {
	if spec.URLRewrite == nil {
		return c
	}
	if host := spec.URLRewrite.Hostname; host != nil {
		c.Route += feature.PerText*int64(len(ptr.Deref(host.Header, ""))) + costOf(host.PathRegex)
	}
	if path := spec.URLRewrite.Path; path != nil {
		c.Route += costOf(path.ReplaceRegexMatch)
	}
	return c
}

func costOf(r *v1alpha1.ReplaceRegexMatch) int64 {
	if r == nil {
		return 0
	}
	return feature.Expressions(r.Pattern) + feature.PerText*int64(len(r.Substitution))
}
