package v1alpha1

// StringMatch matches texts.
type StringMatch struct {
	// Type says how a text is compared with the value. Default: Exact.
	//
	// +optional
	// +kubebuilder:default=Exact
	Type *StringMatchType `json:"type,omitempty"`

	// Value is what texts are compared with. A regular expression of RE2 must match the whole text.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Value string `json:"value"`
}

// StringMatchType says how a text is compared.
//
// +kubebuilder:validation:Enum=Exact;Prefix;Suffix;RegularExpression
type StringMatchType string

// The ways to compare a text.
const (
	StringMatchExact             StringMatchType = "Exact"
	StringMatchPrefix            StringMatchType = "Prefix"
	StringMatchSuffix            StringMatchType = "Suffix"
	StringMatchRegularExpression StringMatchType = "RegularExpression"
)
