package admissionrule

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	rulesv1alpha1 "gatehouse/api/rules/v1alpha1"
)

// matcher is the compiled form of match constraints.
type matcher struct {
	spec               *rulesv1alpha1.MatchConstraints
	namespaces, object labels.Selector
	// effective reports whether the rule reads the effective configuration. Only such rules are about kinds of which
	// admission sees a part.
	effective bool
}

// selectorOf returns the selector; nil selects everything.
func selectorOf(s *rulesv1alpha1.LabelSelector) (labels.Selector, error) {
	if s == nil {
		return labels.Everything(), nil
	}
	all := &metav1.LabelSelector{MatchLabels: s.MatchLabels}
	for _, e := range s.MatchExpressions {
		all.MatchExpressions = append(all.MatchExpressions, metav1.LabelSelectorRequirement(e))
	}
	return metav1.LabelSelectorAsSelector(all)
}

// resources are the kinds that the constraints can match.
func (m *matcher) resources() []Resource {
	var matched []Resource
	for _, r := range Resources {
		if m.Covers(r) {
			matched = append(matched, r)
		}
	}
	return matched
}

// covers reports whether a resource rule is about a kind.
func covers(rule *rulesv1alpha1.ResourceRule, r Resource) bool {
	has := func(list []string, value string) bool {
		return slices.Contains(list, value) || slices.Contains(list, "*")
	}
	return has(rule.APIGroups, r.Group) && has(rule.APIVersions, r.Version) && has(rule.Resources, r.Name) &&
		(rule.Scope == "" || rule.Scope == "*" || rule.Scope == r.scope())
}

// names reports whether the constraints name a kind, and do not only match it by *.
func (m *matcher) names(r Resource) bool {
	return slices.ContainsFunc(m.spec.ResourceRules, func(rule rulesv1alpha1.ResourceRule) bool {
		return slices.Contains(rule.Resources, r.Name)
	})
}

// Covers reports whether the rule may be about objects of a kind.
func (m *matcher) Covers(r Resource) bool {
	return (m.effective || !r.Partial) && slices.ContainsFunc(m.spec.ResourceRules, func(rule rulesv1alpha1.ResourceRule) bool { return covers(&rule, r) })
}

// matches reports whether the constraints are about the request.
func (m *matcher) matches(in *Input) bool {
	any := func(rules []rulesv1alpha1.ResourceRule) bool {
		return slices.ContainsFunc(rules, func(rule rulesv1alpha1.ResourceRule) bool { return m.matchesRule(&rule, in) })
	}
	return any(m.spec.ResourceRules) && !any(m.spec.ExcludeResourceRules) && m.selects(in)
}

func (m *matcher) matchesRule(rule *rulesv1alpha1.ResourceRule, in *Input) bool {
	if !covers(rule, in.Resource) {
		return false
	}
	request := in.Request
	if m.spec.MatchPolicy == rulesv1alpha1.MatchExact && request.RequestResource != nil &&
		!slices.Contains(rule.APIVersions, "*") && !slices.Contains(rule.APIVersions, request.RequestResource.Version) {
		return false
	}
	operation := rulesv1alpha1.Operation(request.Operation)
	return (slices.Contains(rule.Operations, operation) || slices.Contains(rule.Operations, "*")) &&
		(len(rule.ResourceNames) == 0 || slices.Contains(rule.ResourceNames, request.Name))
}

func (m *matcher) selects(in *Input) bool {
	if in.Request.Namespace != "" {
		var of labels.Set
		if in.Namespace != nil {
			of = in.Namespace.Labels
		}
		if !m.namespaces.Matches(of) {
			return false
		}
	}
	return m.object.Matches(labelsOf(in.Object)) || in.OldObject != nil && m.object.Matches(labelsOf(in.OldObject))
}

func labelsOf(object map[string]any) labels.Set {
	metadata, _ := object["metadata"].(map[string]any)
	all, _ := metadata["labels"].(map[string]any)
	set := labels.Set{}
	for key, value := range all {
		set[key] = fmt.Sprint(value)
	}
	return set
}
