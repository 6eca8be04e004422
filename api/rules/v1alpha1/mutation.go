package v1alpha1

// PatchType says how a mutation is written.
//
// +kubebuilder:validation:Enum=ApplyConfiguration;JSONPatch
type PatchType string

// The patch types.
const (
	PatchTypeApplyConfiguration PatchType = "ApplyConfiguration"
	PatchTypeJSONPatch          PatchType = "JSONPatch"
)

// Mutation is one change of an object, as in a MutatingAdmissionPolicy of Kubernetes. Of the metadata, only labels,
// annotations, finalizers and ownerReferences can be changed, and the status cannot.
//
// +kubebuilder:validation:XValidation:rule="has(self.applyConfiguration) == (self.patchType == 'ApplyConfiguration') && has(self.jsonPatch) == (self.patchType == 'JSONPatch')",message="write applyConfiguration for patchType ApplyConfiguration, and jsonPatch for patchType JSONPatch"
type Mutation struct {
	// PatchType is ApplyConfiguration or JSONPatch.
	//
	// +required
	PatchType PatchType `json:"patchType"`

	// ApplyConfiguration has an expression of type Object, whose fields are merged into the object as in server-side
	// apply, such as Object{spec: Object.spec{idleTimeout: "60s"}}. It cannot change lists that are atomic.
	//
	// +optional
	ApplyConfiguration *MutationExpression `json:"applyConfiguration,omitempty"`

	// JSONPatch has an expression that returns a list of JSONPatch, such as
	// [JSONPatch{op: "add", path: "/spec/idleTimeout", value: "60s"}].
	//
	// +optional
	JSONPatch *MutationExpression `json:"jsonPatch,omitempty"`
}

// Expression is that of the patch type; empty if there is none.
func (m *Mutation) Expression() string {
	of := m.JSONPatch
	if m.PatchType == PatchTypeApplyConfiguration {
		of = m.ApplyConfiguration
	}
	if of == nil {
		return ""
	}
	return of.Expression
}

// MutationExpression returns a change.
type MutationExpression struct {
	// Expression can use everything but effective.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=65536
	Expression string `json:"expression"`
}
