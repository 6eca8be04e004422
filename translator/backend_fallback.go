package translator

import (
	"fmt"
	"slices"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/verdict"
)

// A backend may be a fallback: it gets requests once the others of its rule have no endpoint that can take them. Envoy
// does that within a cluster only, by priorities, so all backends of such a rule have to fit into one.

// settleFallbacks says what becomes of the fallbacks among the backends of a rule, of which at has the indices among
// its backendRefs. Where all are fallbacks none is. One that cannot be used gets no share, as it would have none while
// others serve.
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

// partsFallbacks says what keeps the backends of a rule from being in one cluster, with the way out, if anything does.
func (rule *ruleRow) partsFallbacks() string {
	names, addresses := false, false
	for _, b := range rule.Backends {
		switch {
		case len(b.Filters) > 0:
			return "filters of a backendRef need one for it alone; use filters of the rule"
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

// share is the backend's part of the requests. A fallback has none: what it gets it takes over from others.
func (b backend) share() uint32 {
	if b.Fallback {
		return 0
	}
	return b.Weight
}

// togetherBytes tell clusters of several backends apart by what the names of the backends do not say.
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
