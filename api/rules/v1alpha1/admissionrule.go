package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AdmissionRule is a rule of the platform for objects that are created, updated or deleted. Admission evaluates it in addition
// to its own verdict, whatever level of admission a namespace has. So only the people who run the platform should be
// able to write AdmissionRules.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,categories=gatehouse
// +kubebuilder:printcolumn:name="Severity",type=string,JSONPath=`.spec.severity`
// +kubebuilder:printcolumn:name="Accepted",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name="Violations",type=integer,JSONPath=`.status.audit.violations`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type AdmissionRule struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says which objects the rule is about, what it fills in, and what it requires of them.
	//
	// +required
	Spec AdmissionRuleSpec `json:"spec"`

	// Status says whether the rule is in effect, why not, and which stored objects violate it.
	//
	// +optional
	Status AdmissionRuleStatus `json:"status,omitempty"`
}

// AdmissionRuleSpec says which objects a rule is about, what it fills in, and what it requires of them.
//
// All expressions are CEL, with the function libraries and cost limits of the API server. They can use object
// (the new version, null for a deletion), oldObject (the stored version, null at creation), request (the request of an
// AdmissionReview), namespaceObject (null for objects without a namespace), params (null without paramKind), effective
// (the routes and listeners that the change touches, as they take effect with it) and variables. Mutations cannot use
// effective, because they decide what takes effect.
//
// +kubebuilder:validation:XValidation:rule="has(self.validations) || has(self.mutations)",fieldPath=".validations",message="the rule requires nothing and fills in nothing: write validations, mutations or both"
// +kubebuilder:validation:XValidation:rule="has(self.paramKind) == has(self.paramRef)",fieldPath=".paramRef",message="paramKind and paramRef go together: write both or none"
type AdmissionRuleSpec struct {
	// Severity says what happens to an object that violates the rule: deny refuses it, warn stores it with a warning
	// to the user, and audit stores it with an entry in the audit log of the API server, in the log and in the metrics
	// of the control plane.
	//
	// +optional
	// +kubebuilder:default=deny
	Severity Severity `json:"severity,omitempty"`

	// Exceptions says whether AdmissionExceptions for this rule are allowed. Default: Forbidden.
	//
	// +optional
	// +kubebuilder:default=Forbidden
	Exceptions ExceptionPolicy `json:"exceptions,omitempty"`

	// FailurePolicy says what happens if an expression fails, such as for an object that lacks a field, or if it costs
	// too much. Fail treats the object as one that violates the rule. Ignore leaves the rule out. Default: Fail.
	//
	// +optional
	// +kubebuilder:default=Fail
	FailurePolicy FailurePolicy `json:"failurePolicy,omitempty"`

	// MatchConstraints says which requests the rule is about.
	//
	// +required
	MatchConstraints MatchConstraints `json:"matchConstraints"`

	// MatchConditions are expressions that must all be true for the rule to apply.
	//
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	MatchConditions []MatchCondition `json:"matchConditions,omitempty"`

	// ParamKind is the kind of the objects from which the rule takes its parameters. ConfigMap of v1 is the only one so
	// far.
	//
	// +optional
	ParamKind *ParamKind `json:"paramKind,omitempty"`

	// ParamRef says which objects of that kind are the parameters. If there are several, the rule is evaluated once
	// for each of them, and all must be satisfied.
	//
	// +optional
	ParamRef *ParamRef `json:"paramRef,omitempty"`

	// Variables are evaluated when an expression first uses them, and once for each request. A variable can use the
	// variables before it, as variables.<name>.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Variables []Variable `json:"variables,omitempty"`

	// Mutations fill in defaults of the platform when an object is created or updated, before it is judged. They are
	// made in order, and those of several rules in the order of the rules' names, after the defaults of Gatehouse. They
	// must be idempotent: evaluated on an object that they have changed, they must change nothing. A rule whose mutations
	// are not, or fail, changes nothing, and counts as one that cannot be evaluated.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Mutations []Mutation `json:"mutations,omitempty"`

	// Validations are all evaluated. The object violates the rule if one of them is false.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	Validations []Validation `json:"validations,omitempty"`
}

// Severity says what happens to an object that violates a rule.
//
// +kubebuilder:validation:Enum=deny;warn;audit
type Severity string

// The severities.
const (
	SeverityDeny  Severity = "deny"
	SeverityWarn  Severity = "warn"
	SeverityAudit Severity = "audit"
)

// ExceptionPolicy says whether a rule has exceptions.
//
// +kubebuilder:validation:Enum=Allowed;Forbidden
type ExceptionPolicy string

// The policies for exceptions.
const (
	ExceptionsAllowed   ExceptionPolicy = "Allowed"
	ExceptionsForbidden ExceptionPolicy = "Forbidden"
)

// FailurePolicy says what happens if an expression fails.
//
// +kubebuilder:validation:Enum=Fail;Ignore
type FailurePolicy string

// The failure policies.
const (
	FailurePolicyFail   FailurePolicy = "Fail"
	FailurePolicyIgnore FailurePolicy = "Ignore"
)

// MatchCondition is a named expression that must be true for a rule to apply.
type MatchCondition struct {
	// Name identifies the condition in messages.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// Expression is of type bool. It can use everything but variables.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=65536
	Expression string `json:"expression"`
}

// Variable is a named expression.
type Variable struct {
	// Name is how expressions refer to the value, after variables and a dot.
	//
	// +required
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[A-Za-z_][A-Za-z0-9_]*$`
	Name string `json:"name"`

	// Expression may be of any type.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=65536
	Expression string `json:"expression"`
}

// Validation is one requirement of a rule.
type Validation struct {
	// Expression is of type bool. It is true for an object that satisfies the requirement.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=65536
	Expression string `json:"expression"`

	// Message is one line for the user: what is wrong, and how to correct it. It is used without messageExpression,
	// and if that fails. Default: a sentence with the expression.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`

	// MessageExpression is of type string and returns the message.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=65536
	MessageExpression string `json:"messageExpression,omitempty"`

	// Reason is a word in CamelCase by which reports of gatehouse check group their findings. Default: RuleViolated.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[A-Za-z][A-Za-z0-9]*$`
	Reason string `json:"reason,omitempty"`

	// FieldPath is the field that the requirement is about, such as spec.hostnames or spec.rules[0].timeouts. Answers
	// and reports point at it.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=512
	FieldPath string `json:"fieldPath,omitempty"`
}

// ParamKind is the kind of parameters.
type ParamKind struct {
	// APIVersion is the group and version, such as v1.
	//
	// +required
	APIVersion string `json:"apiVersion"`

	// Kind is the kind, such as ConfigMap.
	//
	// +required
	Kind string `json:"kind"`
}

// ParamRef says which objects are the parameters of a rule.
//
// +kubebuilder:validation:XValidation:rule="has(self.name) != has(self.selector)",fieldPath=".name",message="parameters are found by a name or by a selector: write one of the two"
type ParamRef struct {
	// Name is the name of one object.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// Namespace is the namespace of the parameters. Default: the namespace of the object that the request is about.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`

	// Selector selects objects by their labels. An empty selector selects all of the namespace.
	//
	// +optional
	Selector *LabelSelector `json:"selector,omitempty"`

	// ParameterNotFoundAction says what happens if there are no such parameters. Deny treats it like an expression that
	// fails, as failurePolicy says. Allow leaves the rule out.
	//
	// +required
	// +kubebuilder:validation:Enum=Allow;Deny
	ParameterNotFoundAction string `json:"parameterNotFoundAction"`
}

// The values of parameterNotFoundAction.
const (
	ParameterNotFoundAllow = "Allow"
	ParameterNotFoundDeny  = "Deny"
)

// AdmissionRuleStatus says whether a rule is in effect, and what violates it.
type AdmissionRuleStatus struct {
	// Conditions has the condition Accepted. It is False if the rule cannot be evaluated.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// Audit says how many of the stored objects violate the rule.
	//
	// +optional
	Audit *RuleAudit `json:"audit,omitempty"`
}

// RuleAudit says how many of the stored objects violate a rule.
type RuleAudit struct {
	// ObservedGeneration is the generation of the rule by which they were judged.
	//
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Judged is the number of objects that matchConstraints match.
	Judged int32 `json:"judged"`

	// Violations is how many times they violate a requirement of the rule.
	Violations int32 `json:"violations"`

	// Excepted is how many violations AdmissionExceptions allow.
	Excepted int32 `json:"excepted"`

	// Failed is how many times the rule could not be evaluated.
	Failed int32 `json:"failed"`

	// First are the first ten violations, by namespace, kind and name.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=10
	First []RuleViolation `json:"first,omitempty"`
}

// RuleViolation is a requirement that a stored object violates.
type RuleViolation struct {
	// Kind is the kind of the object.
	Kind string `json:"kind"`

	// Namespace is that of the object, empty for an object without one.
	//
	// +optional
	Namespace string `json:"namespace,omitempty"`

	// Name is that of the object.
	Name string `json:"name"`

	// Field is what the requirement is about.
	//
	// +optional
	Field string `json:"field,omitempty"`

	// Message says what is wrong. Long messages are cut.
	//
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message"`
}

// AdmissionRuleList is a list of AdmissionRules.
//
// +kubebuilder:object:root=true
type AdmissionRuleList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []AdmissionRule `json:"items"`
}
