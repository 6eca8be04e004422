package policies

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// Selector is a compiled targetSelector. It always selects whole objects.
type Selector struct {
	// Kind is the kind of the objects that it selects.
	Kind string
	// Field is the path of the selector, such as spec.targetSelectors[0].
	Field string

	// namespace is the namespace of the policy.
	namespace string
	// namespaces matches the labels of other namespaces; nil means that only the policy's own namespace is selected.
	namespaces labels.Selector
	// own reports whether the policy's own namespace is always selected.
	own bool
	// objects matches the labels of objects.
	objects labels.Selector
	// labels are what Labels answers.
	labels [][]string
}

// Selectors compiles the policy's targetSelectors. A selector that cannot be compiled is skipped and reported.
func Selectors(kind Kind, p Object) ([]Selector, []verdict.Problem) {
	var selectors []Selector
	var problems []verdict.Problem
	for i, written := range p.GetTargets().TargetSelectors {
		s, found := compile(kind, p.GetNamespace(), fmt.Sprintf("spec.targetSelectors[%d]", i), written)
		if len(found) > 0 {
			problems = append(problems, found...)
			continue
		}
		selectors = append(selectors, s)
	}
	return selectors, problems
}

// Matches reports whether the selector selects the object, given its labels and those of its namespace. If NeedsGrant
// is true, a ReferenceGrant must allow it too.
func (s Selector) Matches(kind, namespace string, object, namespaceLabels map[string]string) bool {
	if kind != s.Kind || !s.objects.Matches(labels.Set(object)) {
		return false
	}
	if s.own && namespace == s.namespace {
		return true
	}
	return s.namespaces != nil && s.namespaces.Matches(labels.Set(namespaceLabels))
}

// Elsewhere reports whether the selector looks into other namespaces than the policy's own.
func (s Selector) Elsewhere() bool { return s.namespaces != nil }

// Labels lists conditions for finding the objects in an index: of each condition, an object that is selected has one of
// the labels, which are written key=value. What labels alone cannot say, such as the absence of one, is left out, so an
// object that has them need not be selected.
func (s Selector) Labels() [][]string { return s.labels }

// labelsOf finds the conditions of a label selector.
func labelsOf(selector labels.Selector) [][]string {
	var conditions [][]string
	requirements, _ := selector.Requirements()
	for _, r := range requirements {
		switch r.Operator() {
		case selection.In, selection.Equals, selection.DoubleEquals:
			var condition []string
			for _, value := range slices.Sorted(slices.Values(r.ValuesUnsorted())) {
				condition = append(condition, r.Key()+"="+value)
			}
			conditions = append(conditions, condition)
		}
	}
	return conditions
}

// NeedsGrant reports whether objects of the namespace can be selected only if a ReferenceGrant there permits it: from
// the policy's group, kind and namespace, to the object's group and kind. Without one the object is not selected, and
// nothing is said about it, since that would tell one tenant about another's objects.
func (s Selector) NeedsGrant(namespace string) bool {
	return namespace != s.namespace
}

func compile(kind Kind, namespace, field string, written v1alpha1.TargetSelector) (Selector, []verdict.Problem) {
	group := gwapiv1.GroupName
	if written.Group != nil {
		group = string(*written.Group)
	}
	problems := checkTarget(kind, field, group, string(written.Kind))
	objects, found := labelSelector(field, &metav1.LabelSelector{
		MatchLabels:      written.MatchLabels,
		MatchExpressions: written.MatchExpressions,
	})
	problems = append(problems, found...)
	s := Selector{Kind: string(written.Kind), Field: field, namespace: namespace, objects: objects}
	if objects != nil {
		s.labels = labelsOf(objects)
	}
	found = s.compileNamespaces(field+".namespaces", written.Namespaces)
	return s, append(problems, found...)
}

// compileNamespaces sets the namespaces of the selector.
func (s *Selector) compileNamespaces(field string, written *v1alpha1.TargetSelectorNamespaces) []verdict.Problem {
	if written == nil {
		s.own = true
		return nil
	}
	switch written.From {
	case "", v1alpha1.TargetNamespacesSame:
		s.own = true
		return nil
	case v1alpha1.TargetNamespacesAll:
		s.own, s.namespaces = true, labels.Everything()
		return nil
	case v1alpha1.TargetNamespacesSelector:
		if written.Selector == nil {
			return CheckNamespaces(field+".selector", nil)
		}
		var problems []verdict.Problem
		s.namespaces, problems = labelSelector(field+".selector", written.Selector)
		return problems
	}
	return []verdict.Problem{feature.Invalid(field+".from", "%q is not known: write Same, All or Selector", written.From)}
}

// CheckNamespaces finds what is wrong with the selector of namespaces where from is Selector. It may be nil.
func CheckNamespaces(field string, written *metav1.LabelSelector) []verdict.Problem {
	if written == nil {
		return []verdict.Problem{feature.Invalid(field,
			"from is Selector, so a selector must say which namespaces: add it, or write from: Same or from: All")}
	}
	_, problems := labelSelector(field, written)
	return problems
}

func labelSelector(field string, written *metav1.LabelSelector) (labels.Selector, []verdict.Problem) {
	compiled, err := metav1.LabelSelectorAsSelector(written)
	if err != nil {
		return nil, []verdict.Problem{feature.Invalid(field,
			"the labels cannot be matched, %v: correct that key, operator or value", err)}
	}
	return compiled, nil
}
