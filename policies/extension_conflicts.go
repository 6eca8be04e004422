package policies

import (
	"fmt"
	"net/http"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/feature"
	"gatehouse/policies/filterdirectresponse"
	"gatehouse/policies/verdict"
)

// rewriting is a filter that changes the host or the path.
type rewriting struct {
	feature.FilterAt
	host, path bool
}

// checkAnswers finds HTTPRouteFilters of a rule with direct responses that cannot be given. A rule has one answer.
func checkAnswers(r *feature.Rule) (problems []verdict.Problem) {
	first := ""
	if redirect := feature.FilterOf(&r.HTTPRouteRule, gwapiv1.HTTPRouteFilterRequestRedirect); redirect >= 0 {
		first = fmt.Sprintf("filters[%d]", redirect)
	}
	for _, e := range r.Extensions {
		answer, field := e.Filter.Spec.DirectResponse, e.Field+".extensionRef"
		if answer == nil {
			continue
		}
		status := filterdirectresponse.Status(answer)
		switch {
		case e.Backend >= 0:
			problems = append(problems, feature.Incompatible(field,
				"it has directResponse, and a backend answers by itself, so the rule fails: refer to it in the rule, or remove directResponse"))
		case first != "":
			problems = append(problems, feature.Incompatible(field,
				"it has directResponse, and %s answers the requests too, so the rule fails: remove one of both", first))
		case r.GRPC && status < http.StatusMultipleChoices:
			problems = append(problems, feature.Invalid(field,
				"it answers with status code %d, and gRPC has no empty response, so the rule fails: write a statusCode from 300 to 599, such as 503", status))
		}
		if e.Backend < 0 && first == "" {
			first = e.Field
		}
	}
	return problems
}

// checkExtensions finds HTTPRouteFilters of a rule that do not go together with its other filters. A rule may change the
// host and the path once each, by whatever filter, and have one HTTPRouteFilter with matches.
func checkExtensions(r *feature.Rule) (problems []verdict.Problem) {
	matches, all := "", rewritingsOf(r)
	redirect := feature.FilterOf(&r.HTTPRouteRule, gwapiv1.HTTPRouteFilterRequestRedirect)
	mirror := feature.FilterOf(&r.HTTPRouteRule, gwapiv1.HTTPRouteFilterRequestMirror)
	for _, e := range r.Extensions {
		field := e.Field + ".extensionRef"
		spec := &e.Filter.Spec
		switch {
		case len(spec.Matches) > 0 && e.Backend >= 0:
			problems = append(problems, feature.Incompatible(field,
				"it has matches, and a backend cannot choose its requests, so the rule fails: refer to it in the rule, or remove the matches"))
		case len(spec.Matches) > 0 && matches != "":
			problems = append(problems, feature.Incompatible(field,
				"it has matches, and that of %s has some already, so the rule fails: use one of both, or put the matches into one", matches))
		case len(spec.Matches) > 0:
			matches = e.Field
		}
		if spec.URLRewrite == nil {
			continue
		}
		if redirect >= 0 {
			problems = append(problems, feature.Incompatible(field,
				"it changes the host or the path of requests, and the rule redirects them (filters[%d]), so it fails: remove one of both", redirect))
		}
		if mirror >= 0 && e.Backend >= 0 && spec.URLRewrite.Path != nil {
			p := feature.Incompatible(field,
				"the rule mirrors requests (filters[%d]), and Envoy would mirror them with this path too, so the rule fails: "+
					"refer to it in the rule, or give the backend a rule of its own", mirror)
			p.Weight = verdict.Unresolved
			problems = append(problems, p)
		}
		own := rewriting{e.FilterAt, spec.URLRewrite.Hostname != nil, spec.URLRewrite.Path != nil}
		for _, other := range all {
			if what := own.clashes(other); what != "" {
				problems = append(problems, feature.Incompatible(field,
					"it changes the %s, and so does %s, so the rule fails: remove one of both", what, other.Field))
			}
		}
		all = append(all, own)
	}
	return problems
}

// clashes says what both change for the same requests; empty for nothing.
func (w rewriting) clashes(other rewriting) string {
	switch {
	case w.Backend >= 0 && other.Backend >= 0 && w.Backend != other.Backend:
		return ""
	case w.host && other.host:
		return "host"
	case w.path && other.path:
		return "path"
	}
	return ""
}

// rewritingsOf are the filters of type URLRewrite.
func rewritingsOf(r *feature.Rule) (all []rewriting) {
	for at, f := range feature.AllFilters(&r.HTTPRouteRule, gwapiv1.HTTPRouteFilterURLRewrite) {
		if f.URLRewrite != nil {
			all = append(all, rewriting{at, f.URLRewrite.Hostname != nil, f.URLRewrite.Path != nil})
		}
	}
	return all
}
