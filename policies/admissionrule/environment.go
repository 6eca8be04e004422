package admissionrule

import (
	"fmt"
	"math"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/checker"
	"k8s.io/apimachinery/pkg/util/version"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	apiservercel "k8s.io/apiserver/pkg/cel"
	celcommon "k8s.io/apiserver/pkg/cel/common"
	celenvironment "k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/apiserver/pkg/cel/library"
	celmutation "k8s.io/apiserver/pkg/cel/mutation"

	"gatehouse/policies/effective"
)

// maxEstimate is the highest estimated cost of an expression that is not warned of. The API server refuses expressions
// of CRDs with a higher one.
const maxEstimate = 10000000

// Names of variables.
const (
	varObject, varOldObject, varRequest = plugincel.ObjectVarName, plugincel.OldObjectVarName, plugincel.RequestVarName
	varNamespace, varParams             = plugincel.NamespaceVarName, plugincel.ParamsVarName
	varVariables                        = plugincel.VariableVarName
	varEffective                        = "effective"
	typeVariables                       = "gatehouse.variables"
)

// environment says what the expressions of a rule can use.
type environment struct {
	// object is the type of object and oldObject, dyn if it is nil; kind is its kind.
	object *apiservercel.DeclType
	kind   string
	// params reports whether the rule has parameters.
	params bool
}

// typed is a CEL environment whose variables are declared one after the other.
type typed struct {
	*cel.Env
	// patching also has the types Object and JSONPatch.
	patching *cel.Env
	// mutates reports whether mutations are compiled. What they build has no known size, so their cost is not estimated.
	mutates   bool
	variables *apiservercel.DeclType
	roots     map[string]*apiservercel.DeclType
}

// build returns the environment of the API server that this release is built for, with its function libraries and cost
// limits, and the variables of rules.
func (e environment) build() (*typed, error) {
	t := &typed{
		variables: apiservercel.NewObjectType(typeVariables, map[string]*apiservercel.DeclField{}),
		roots: map[string]*apiservercel.DeclType{
			varRequest: plugincel.BuildRequestType(), varNamespace: plugincel.BuildNamespaceType(),
			varObject: e.object, varOldObject: e.object, varEffective: effective.Type(),
		},
	}
	t.roots[varVariables] = t.variables
	if e.params {
		t.roots[varParams] = paramsType()
	}
	options := celenvironment.VersionedOptions{IntroducedVersion: version.MajorMinor(1, 0)}
	for name, root := range t.roots {
		if root == nil {
			options.EnvOptions = append(options.EnvOptions, cel.Variable(name, cel.DynType))
			continue
		}
		options.EnvOptions = append(options.EnvOptions, cel.Variable(name, root.CelType()))
		if name != varOldObject { // It has the type of object.
			options.DeclTypes = append(options.DeclTypes, root)
		}
	}
	base := celenvironment.MustBaseEnvSet(celenvironment.DefaultCompatibilityVersion())
	set, err := base.Extend(options, celenvironment.StrictCostOpt)
	if err != nil {
		return nil, fmt.Errorf("making the CEL environment of rules: %w", err)
	}
	if t.Env, err = set.Env(celenvironment.StoredExpressions); err != nil {
		return nil, fmt.Errorf("making the CEL environment of rules: %w", err)
	}
	if set, err = set.Extend(patchTypes); err != nil {
		return nil, fmt.Errorf("making the CEL environment of mutations: %w", err)
	}
	if t.patching, err = set.Env(celenvironment.StoredExpressions); err != nil {
		return nil, fmt.Errorf("making the CEL environment of mutations: %w", err)
	}
	return t, nil
}

// patchTypes are what mutations use in addition.
var patchTypes = celenvironment.VersionedOptions{
	IntroducedVersion: version.MajorMinor(1, 0),
	EnvOptions: []cel.EnvOption{
		celcommon.ResolverEnvOption(&celmutation.DynamicTypeResolver{}), celenvironment.UnversionedLib(library.JSONPatch),
	},
}

func (t *typed) has(variable string) bool { return t.variables.Fields[variable] != nil }

// declare makes a variable known to the expressions that are compiled from now on. A type that is not known is dyn.
func (t *typed) declare(variable string, of *cel.Type) {
	t.variables.Fields[variable] = apiservercel.NewDeclField(variable, declared(of), true, nil, nil)
}

// declared is the type of a value that an expression returned.
func declared(of *cel.Type) *apiservercel.DeclType {
	simple := map[*cel.Type]*apiservercel.DeclType{
		cel.BoolType: apiservercel.BoolType, cel.BytesType: apiservercel.BytesType, cel.DoubleType: apiservercel.DoubleType,
		cel.DurationType: apiservercel.DurationType, cel.IntType: apiservercel.IntType, cel.NullType: apiservercel.NullType,
		cel.StringType: apiservercel.StringType, cel.TimestampType: apiservercel.TimestampType, cel.UintType: apiservercel.UintType,
	}
	if known := simple[of]; known != nil {
		return known
	}
	if of == nil {
		return apiservercel.DynType
	}
	parameters := of.Parameters()
	switch {
	case of.Kind() == cel.ListKind && len(parameters) == 1:
		return apiservercel.NewListType(declared(parameters[0]), -1)
	case of.Kind() == cel.MapKind && len(parameters) == 2:
		return apiservercel.NewMapType(declared(parameters[0]), declared(parameters[1]), -1)
	}
	return apiservercel.DynType
}

// cost is the cost of an expression for the largest object; 0 if the size of something that it reads has no bound.
func (t *typed) cost(ast *cel.Ast) uint64 {
	if t.mutates {
		return 0
	}
	sizes := &sizes{roots: t.roots}
	estimate, err := t.EstimateCost(ast, &library.CostEstimator{SizeEstimator: sizes})
	if err != nil || sizes.unbounded {
		return 0
	}
	return estimate.Max
}

// sizes estimates the sizes of values by the limits of the schema.
type sizes struct {
	roots map[string]*apiservercel.DeclType
	// unbounded reports whether the size of a value was asked for that has no limit.
	unbounded bool
}

// EstimateSize returns the bounds of the length of a list, map or text. It returns nil for values that are computed.
func (s *sizes) EstimateSize(element checker.AstNode) *checker.SizeEstimate {
	path := element.Path()
	if len(path) == 0 {
		return nil
	}
	at := s.roots[path[0]]
	for _, step := range path[1:] {
		at = below(at, step)
	}
	if at == nil || at.MaxElements < 0 || at.MaxElements == math.MaxInt64 {
		s.unbounded = true
		return nil
	}
	return &checker.SizeEstimate{Min: 0, Max: uint64(at.MaxElements)}
}

// below is the type of a part of a value; nil if it is not known.
func below(at *apiservercel.DeclType, step string) *apiservercel.DeclType {
	switch {
	case at == nil:
		return nil
	case step == "@keys":
		return at.KeyType
	case step == "@items" || step == "@values" || at.IsMap():
		return at.ElemType
	case at.Fields[step] == nil:
		return nil
	}
	return at.Fields[step].Type
}

// EstimateCallCost leaves all functions to the libraries.
func (*sizes) EstimateCallCost(string, string, *checker.AstNode, []checker.AstNode) *checker.CallEstimate {
	return nil
}
