package translator

import (
	"fmt"
	"slices"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/verdict"
)

// A backend can be a fallback: it gets requests when no other backend of its rule has a usable endpoint. Envoy has
// priorities for this, but only within one cluster, so all backends of such a rule must fit into one cluster.

// dropFallbacks finds the fallbacks of a rule to which nothing is sent, and then removes those that have no effect.
// at has the index of each backend in the backendRefs of the rule.
func (rule *ruleRow) dropFallbacks(at []int, field string) (problems []verdict.Problem) {
	apart := partsFallbacks(rule.Backends)
	for i := range rule.Backends {
		b := &rule.Backends[i]
		if !b.Fallback || !b.usable() || apart == "" || onlyFallbacks(rule.Backends) {
			continue
		}
		problems = append(problems, verdict.Problem{
			Field: fmt.Sprintf("%s.backendRefs[%d]", field, at[i]), Reason: reasonAddressType,
			Weight: verdict.Unresolved, Condition: string(gwapiv1.RouteConditionResolvedRefs),
			Message: fmt.Sprintf("%s is a fallback, and nothing is sent to it, since Envoy fails over within one cluster: %s",
				b.To, apart),
		})
		b.To = nil
	}
	rule.Backends = withoutLostFallbacks(rule.Backends)
	return problems
}

// withoutLostFallbacks removes fallbacks that cannot be used: they have no share of the requests while other backends work, so their
// share must not fail. If all backends are fallbacks, they become normal backends.
func withoutLostFallbacks(backends []backend) []backend {
	if !onlyFallbacks(backends) {
		return slices.DeleteFunc(backends, func(b backend) bool { return b.Fallback && !b.usable() })
	}
	for i := range backends {
		backends[i].Fallback = false
	}
	return backends
}

func onlyFallbacks(backends []backend) bool {
	return !slices.ContainsFunc(backends, func(b backend) bool { return !b.Fallback })
}

// partsFallbacks says why the backends of a rule do not fit into one cluster, and what to do. It is empty if they fit.
func partsFallbacks(backends []backend) string {
	if slices.ContainsFunc(backends, func(b backend) bool { return len(b.Filters) > 0 }) {
		return "filters of a backendRef need one for it alone: use filters of the rule"
	}
	if named, other := split(backends, func(b backend) bool { return b.To.named() }); named != nil && other != nil {
		return "names and addresses do not go together in one; " +
			"use Backends with fqdn for all backends of the rule, or for none"
	}
	if ofRequests, ofItself := namedApart(backends); ofRequests != nil && ofItself != nil {
		return fmt.Sprintf("the server name for %s is the host of each request and that for %s is not, which do not go "+
			"together in one; write tls.sni into the Backend", ofRequests.To, ofItself.To)
	}
	return ""
}

// split returns the first backend of which something is true, and the first of which it is not, among those that can be
// used; nil for none.
func split(backends []backend, is func(backend) bool) (yes, no *backend) {
	for i := range backends {
		switch b := &backends[i]; {
		case !b.usable():
		case yes == nil && is(*b):
			yes = b
		case no == nil && !is(*b):
			no = b
		}
	}
	return yes, no
}

// share is the backend's weight among the clusters of its rule. A fallback has none: it takes over the requests of the
// other backends in its cluster.
func (b backend) share() uint32 {
	if b.Fallback {
		return 0
	}
	return b.Weight
}

// failsOver reports whether there are fallbacks among backends.
func failsOver(backends []backend) bool {
	return slices.ContainsFunc(backends, func(b backend) bool { return b.Fallback })
}
