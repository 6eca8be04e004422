package admissionrule

import (
	"cmp"

	"k8s.io/apimachinery/pkg/labels"
)

// Name is the name of the AdmissionRule.
func (r *Rule) Name() string { return r.name }

// Matches reports whether the match constraints are about the request. Match conditions may still exclude it.
func (r *Rule) Matches(in *Input) bool { return r.matches(in) }

// ReadsEffective reports whether the rule reads the effective configuration.
func (r *Rule) ReadsEffective() bool { return r.effective }

// ReadsNamespace reports whether the Namespace of an object can change what the rule says about the object.
func (r *Rule) ReadsNamespace() bool { return !r.namespaces.Empty() || r.reads[varNamespace] }

// Params are the parameters for objects in a namespace: where they are, and the name or the selector that finds them.
// It is false if the rule has none.
func (r *Rule) Params(object string) (namespace, name string, selector labels.Selector, has bool) {
	p := r.params.ref
	if p == nil {
		return "", "", nil, false
	}
	return cmp.Or(p.Namespace, object), p.Name, r.params.selector, true
}
