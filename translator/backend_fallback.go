package translator

import (
	"fmt"
	"slices"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/verdict"
)

// A backend can be a fallback: it gets requests when no other backend of its rule has a usable endpoint. Envoy has
// priorities for this, but only within one cluster, so all backends of such a rule must fit into one cluster.

// settleFallbacks removes the fallbacks of a rule that cannot be used: they have no share of the requests while other
// backends work, so their share does not get 500. If all backends of a rule are fallbacks, they become normal backends.
// at has the index of each backend in the backendRefs of the rule.
func (rule *ruleRow) settleFallbacks(at []int, field string) (problems []verdict.Problem) {
	if !slices.ContainsFunc(rule.Backends, func(b backend) bool { return !b.Fallback }) {
		for i := range rule.Backends {
			rule.Backends[i].Fallback = false
		}
		return nil
	}
	apart := rule.partsFallbacks()
	var kept []backend
	for i, b := range rule.Backends {
		switch {
		case !b.Fallback || b.usable() && apart == "":
			kept = append(kept, b)
		case b.usable():
			problems = append(problems, verdict.Problem{
				Field: fmt.Sprintf("%s.backendRefs[%d]", field, at[i]), Reason: reasonAddressType,
				Weight: verdict.Unresolved, Condition: string(gwapiv1.RouteConditionResolvedRefs),
				Message: fmt.Sprintf("%s is a fallback, and nothing is sent to it, since Envoy fails over within one cluster: %s",
					b.To, apart),
			})
		}
	}
	rule.Backends = kept
	return problems
}

// partsFallbacks says why the backends of a rule do not fit into one cluster, and what to do. It is empty if they fit.
func (rule *ruleRow) partsFallbacks() string {
	names, addresses := false, false
	for _, b := range rule.Backends {
		switch {
		case len(b.Filters) > 0:
			return "filters of a backendRef need one for it alone: use filters of the rule"
		case !b.usable():
		case b.To.named():
			names = true
		default:
			addresses = true
		}
	}
	if names && addresses {
		return "names and addresses do not go together in one; " +
			"use Backends with fqdn for all backends of the rule, or for none"
	}
	return ""
}

// share is the backend's weight among the clusters of its rule. A fallback has none: it takes over the requests of the
// other backends in its cluster.
func (b backend) share() uint32 {
	if b.Fallback {
		return 0
	}
	return b.Weight
}

// togetherBytes distinguish clusters of several backends by the parts that are not in the names of the backends.
func (b backend) togetherBytes() (text []byte) {
	if b.To != nil {
		text = externalBytes(b)
	}
	if b.Fallback {
		text = append(text, " fallback;"...)
	}
	return text
}

// failsOver reports whether there are fallbacks among backends.
func failsOver(backends []backend) bool {
	return slices.ContainsFunc(backends, func(b backend) bool { return b.Fallback })
}
