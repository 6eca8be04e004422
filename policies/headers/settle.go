package headers

import (
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/feature"
)

// settleHeaders makes the filters of a backendRef change headers after those of its rule, because they act when the
// backend is chosen. Envoy does the opposite, whatever most_specific_header_mutations_wins says. So if both change
// headers, the rule's changes go into each share, before the backend's.
func settleHeaders(_ *gwapiv1.HTTPRouteRule, route *feature.Route) {
	shares := route.GetRoute().GetWeightedClusters().GetClusters()
	if !slices.ContainsFunc(shares, feature.ChangesHeaders) {
		return
	}
	for _, c := range shares {
		c.RequestHeadersToAdd = replacing(route.RequestHeadersToAdd, c.RequestHeadersToAdd, c.RequestHeadersToRemove)
		c.RequestHeadersToRemove = slices.Concat(route.RequestHeadersToRemove, c.RequestHeadersToRemove)
		c.ResponseHeadersToAdd = replacing(route.ResponseHeadersToAdd, c.ResponseHeadersToAdd, c.ResponseHeadersToRemove)
		c.ResponseHeadersToRemove = slices.Concat(route.ResponseHeadersToRemove, c.ResponseHeadersToRemove)
	}
	route.RequestHeadersToAdd, route.RequestHeadersToRemove, route.ResponseHeadersToAdd,
		route.ResponseHeadersToRemove = nil, nil, nil, nil
}

// replacing puts headers after those of a rule, without the headers of the rule that are replaced or removed. Envoy
// removes first, then sets, then adds.
func replacing(rule, add []*corev3.HeaderValueOption, remove []string) []*corev3.HeaderValueOption {
	kept := slices.DeleteFunc(slices.Clone(rule), func(h *corev3.HeaderValueOption) bool {
		same := func(name string) bool { return strings.EqualFold(name, h.Header.Key) }
		return slices.ContainsFunc(remove, same) || slices.ContainsFunc(add, func(o *corev3.HeaderValueOption) bool {
			return o.AppendAction == corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD && same(o.Header.Key)
		})
	})
	return append(kept, add...)
}
