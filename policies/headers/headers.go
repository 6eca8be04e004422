// Package headers is the filters RequestHeaderModifier and ResponseHeaderModifier of rules and of their backendRefs.
package headers

import (
	"fmt"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

const (
	ofRequests  = gwapiv1.HTTPRouteFilterRequestHeaderModifier
	ofResponses = gwapiv1.HTTPRouteFilterResponseHeaderModifier
)

// Feature is the two filters.
var Feature = feature.Feature[gwapiv1.HTTPRouteRule]{
	Types:  []gwapiv1.HTTPRouteFilterType{ofRequests, ofResponses},
	Check:  check,
	Route:  route,
	Settle: settleHeaders,
	Share:  share,
	Cost:   cost,
}

func check(rule *gwapiv1.HTTPRouteRule) []verdict.Problem {
	var problems []verdict.Problem
	checkFilter := func(field string, f *gwapiv1.HTTPRouteFilter) {
		problems = append(problems, checkChanges(field+".requestHeaderModifier", f.RequestHeaderModifier)...)
		problems = append(problems, checkChanges(field+".responseHeaderModifier", f.ResponseHeaderModifier)...)
	}
	for field, f := range feature.Filters(rule, ofRequests, ofResponses) {
		checkFilter(field, f)
	}
	for field, f := range feature.BackendFilters(rule, ofRequests, ofResponses) {
		checkFilter(field, f)
	}
	return problems
}

// checkChanges finds what is wrong with changes of headers, which may be nil. A filter that changes a header twice is
// invalid (Gateway API, HTTPHeaderFilter); names are compared without regard to case.
func checkChanges(field string, f *gwapiv1.HTTPHeaderFilter) []verdict.Problem {
	if f == nil {
		return nil
	}
	var problems []verdict.Problem
	changed := map[string]string{} // Where, by the name in lower case.
	change := func(at, entry, name string) {
		problems = append(problems, feature.CheckHeaderChange(field+at, name)...)
		if first, ok := changed[strings.ToLower(name)]; ok {
			problems = append(problems, feature.Invalid(field+at,
				"header %q is changed by %s already, and a filter may change each header once, whatever its case: remove one of the two",
				name, first))
			return
		}
		changed[strings.ToLower(name)] = entry
	}
	written := func(list string, headers []gwapiv1.HTTPHeader) {
		for i, h := range headers {
			entry := fmt.Sprintf("%s[%d]", list, i)
			change("."+entry+".name", entry, string(h.Name))
			problems = append(problems, feature.CheckHeaderValue(field+"."+entry+".value", string(h.Name), h.Value)...)
		}
	}
	written("set", f.Set)
	written("add", f.Add)
	for i, name := range f.Remove {
		entry := fmt.Sprintf("remove[%d]", i)
		change("."+entry, entry, name)
	}
	return problems
}

func route(rule *gwapiv1.HTTPRouteRule, _ feature.Have, route *feature.Route) {
	for _, f := range feature.Filters(rule, ofRequests, ofResponses) {
		add, remove := changes(f.RequestHeaderModifier)
		route.RequestHeadersToAdd = append(route.RequestHeadersToAdd, add...)
		route.RequestHeadersToRemove = append(route.RequestHeadersToRemove, remove...)
		add, remove = changes(f.ResponseHeaderModifier)
		route.ResponseHeadersToAdd = append(route.ResponseHeadersToAdd, add...)
		route.ResponseHeadersToRemove = append(route.ResponseHeadersToRemove, remove...)
	}
}

func share(backend *gwapiv1.HTTPRouteRule, share *feature.Share) {
	for i := range backend.Filters {
		f := &backend.Filters[i]
		add, remove := changes(f.RequestHeaderModifier)
		share.RequestHeadersToAdd = append(share.RequestHeadersToAdd, add...)
		share.RequestHeadersToRemove = append(share.RequestHeadersToRemove, remove...)
		add, remove = changes(f.ResponseHeaderModifier)
		share.ResponseHeadersToAdd = append(share.ResponseHeadersToAdd, add...)
		share.ResponseHeadersToRemove = append(share.ResponseHeadersToRemove, remove...)
	}
}

func changes(f *gwapiv1.HTTPHeaderFilter) (add []*corev3.HeaderValueOption, remove []string) {
	if f == nil {
		return nil, nil
	}
	option := func(h gwapiv1.HTTPHeader, action corev3.HeaderValueOption_HeaderAppendAction) {
		// Envoy reads % as the start of a command. Gateway API has no commands.
		value := strings.ReplaceAll(h.Value, "%", "%%")
		add = append(add, &corev3.HeaderValueOption{
			Header:         &corev3.HeaderValue{Key: string(h.Name), Value: value},
			AppendAction:   action,
			KeepEmptyValue: value == "",
		})
	}
	for _, h := range f.Add {
		option(h, corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD)
	}
	for _, h := range f.Set {
		option(h, corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD)
	}
	return add, f.Remove
}

func cost(rule *gwapiv1.HTTPRouteRule) (c feature.Cost) {
	for _, f := range feature.Filters(rule, ofRequests, ofResponses) {
		c.Changes += costOf(f.RequestHeaderModifier) + costOf(f.ResponseHeaderModifier)
	}
	for _, f := range feature.BackendFilters(rule, ofRequests, ofResponses) {
		c.Backends += costOf(f.RequestHeaderModifier) + costOf(f.ResponseHeaderModifier)
	}
	return c
}

func costOf(f *gwapiv1.HTTPHeaderFilter) (cost int64) {
	if f == nil {
		return 0
	}
	for _, headers := range [][]gwapiv1.HTTPHeader{f.Set, f.Add} {
		for _, h := range headers {
			cost += feature.PerEntry + feature.PerText*int64(len(h.Name)+len(h.Value)+strings.Count(h.Value, "%"))
		}
	}
	for _, name := range f.Remove {
		cost += feature.PerEntry/4 + feature.PerText*int64(len(name))
	}
	return cost
}
