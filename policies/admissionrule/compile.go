package admissionrule

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common"
	celast "github.com/google/cel-go/common/ast"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	celconfig "k8s.io/apiserver/pkg/apis/cel"

	rulesv1alpha1 "gatehouse/api/rules/v1alpha1"
	"gatehouse/policies/verdict"
)

// Reasons of problems of rules.
const (
	// ReasonInvalid is the reason of a rule that is not in effect.
	ReasonInvalid = "Invalid"
	// ReasonUnchecked is the reason of a rule that is in effect, although not everything of it could be checked.
	ReasonUnchecked = "Unchecked"
	// reasonViolated is the reason of objects that violate a rule which gives no reason.
	reasonViolated = "RuleViolated"
)

// Rule is a compiled AdmissionRule. It is safe for concurrent use.
type Rule struct {
	name string
	spec *rulesv1alpha1.AdmissionRuleSpec
	matcher
	conditions  []expression
	params      params
	variables   []expression
	mutations   []mutation
	validations []validation
	// reads are the names of the variables that its expressions read.
	reads map[string]bool
}

// expression is a compiled expression with its name.
type expression struct {
	name    string
	program cel.Program
}

type validation struct {
	spec    *rulesv1alpha1.Validation
	holds   cel.Program
	message cel.Program // nil without messageExpression.
	// effective reports whether the requirement is about the effective configuration, and apart whether each route and each
	// listener meets it or violates it alone.
	effective, apart bool
}

// maxText is the most that all expressions of a rule may have together, in bytes. They are compiled once for each kind
// that the rule matches.
const maxText = 128 << 10

// Compile compiles a rule, and checks its expressions against the schemas of all kinds that it matches, unless schemas
// is nil. The problems are those of the AdmissionRule: admission refuses it if one of them is Invalid. The rule is nil
// if it cannot be evaluated at all. Fields have the form spec.validations[0].expression, and messages about expressions
// begin with line and column in the expression. It returns an error only if ctx ends, which it looks at before each
// expression.
func Compile(ctx context.Context, source *rulesv1alpha1.AdmissionRule, schemas Schemas) (*Rule, []verdict.Problem,
	error,
) {
	r := &Rule{
		name: source.Name, spec: &source.Spec, matcher: matcher{spec: &source.Spec.MatchConstraints}, reads: map[string]bool{},
	}
	if problems := r.check(); len(problems) > 0 {
		return nil, problems, nil
	}
	c := &compiler{ctx: ctx, rule: r, programs: true}
	c.run(environment{params: r.spec.ParamKind != nil})
	c.checkEffective()
	if refused := len(c.problems) > 0; refused || schemas == nil {
		if refused {
			r = nil
		}
		return c.result(r)
	}
	for _, resource := range r.resources() {
		if ctx.Err() != nil {
			break
		}
		kind := resource.GVK()
		known := schemas(kind)
		if known == nil && (resource.Partial || !r.names(resource)) {
			continue // Kubernetes' own kinds have no CRD, and who writes * takes what there is.
		}
		if known == nil {
			c.warn("spec.matchConstraints.resourceRules", unknownSchema(kind))
			continue
		}
		c.fields, c.partial = known, resource.Partial
		c.run(environment{params: r.spec.ParamKind != nil, object: typeOf(known, kind.Kind), kind: kind.Kind})
	}
	return c.result(r)
}

// result is what Compile returns. What was found in a rule that was not compiled to its end means nothing.
func (c *compiler) result(r *Rule) (*Rule, []verdict.Problem, error) {
	if err := c.ctx.Err(); err != nil {
		return nil, nil, fmt.Errorf("compiling AdmissionRule %s: %w", c.rule.name, err)
	}
	return r, c.problems, nil
}

// Refused reports whether admission refuses a rule with these problems.
func Refused(problems []verdict.Problem) bool {
	return slices.ContainsFunc(problems, func(p verdict.Problem) bool { return p.Weight == verdict.Invalid })
}

// check checks what needs no expression, and compiles the selectors.
func (r *Rule) check() []verdict.Problem {
	var problems []verdict.Problem
	wrong := func(field, message string) {
		problems = append(problems, verdict.Problem{Field: field, Reason: ReasonInvalid, Weight: verdict.Invalid, Message: message})
	}
	m := &r.spec.MatchConstraints
	if len(m.ResourceRules) == 0 {
		wrong("spec.matchConstraints.resourceRules", "the rule is about nothing: list the kinds that it is about")
	}
	for i := range m.ResourceRules {
		if field, message := checkResources(&m.ResourceRules[i]); message != "" {
			wrong(fmt.Sprintf("spec.matchConstraints.resourceRules[%d].%s", i, field), message)
		}
	}
	if len(r.spec.Validations) == 0 && len(r.spec.Mutations) == 0 {
		wrong("spec.validations", "the rule requires nothing and fills in nothing: write validations, mutations or both")
	}
	for i := range r.spec.Mutations {
		if message := checkMutation(&r.spec.Mutations[i]); message != "" {
			wrong(fmt.Sprintf("spec.mutations[%d]", i), message)
		}
	}
	switch r.spec.Severity {
	case "", rulesv1alpha1.SeverityDeny, rulesv1alpha1.SeverityWarn, rulesv1alpha1.SeverityAudit:
	default:
		wrong("spec.severity", fmt.Sprintf("%q is not a severity: write deny, warn or audit", r.spec.Severity))
	}
	var err error
	if r.namespaces, err = selectorOf(m.NamespaceSelector); err != nil {
		wrong("spec.matchConstraints.namespaceSelector", oneLine(err)+": correct the selector")
	}
	if r.object, err = selectorOf(m.ObjectSelector); err != nil {
		wrong("spec.matchConstraints.objectSelector", oneLine(err)+": correct the selector")
	}
	if problem := r.params.read(r.spec); problem != nil {
		problems = append(problems, *problem)
	}
	if n := textOf(r.spec); n > maxText {
		wrong("spec", fmt.Sprintf("the expressions have %d bytes together, and a rule can have %d: make several rules of it",
			n, maxText))
	}
	return problems
}

// textOf is the length of all expressions.
func textOf(spec *rulesv1alpha1.AdmissionRuleSpec) (n int) {
	for _, m := range spec.MatchConditions {
		n += len(m.Expression)
	}
	for _, v := range spec.Variables {
		n += len(v.Expression)
	}
	for _, m := range spec.Mutations {
		n += len(m.Expression())
	}
	for _, v := range spec.Validations {
		n += len(v.Expression) + len(v.MessageExpression)
	}
	return n
}

// compiler compiles the expressions of a rule in one environment after the other.
type compiler struct {
	ctx      context.Context
	rule     *Rule
	problems []verdict.Problem
	// programs reports whether the programs are kept, and not only the types checked.
	programs bool

	env  *typed
	kind string
	// fields are those of the kind, and partial reports whether mutations cannot be about it.
	fields  *schema.Structural
	partial bool
	// effective are the variables that read the effective configuration.
	effective map[string]bool
	// natures are those of the variables.
	natures natures
	// conditional reports whether a match condition reads it.
	conditional bool
}

// run compiles all expressions. What is wrong for one kind is reported once.
func (c *compiler) run(e environment) {
	env, err := e.build()
	if err != nil {
		c.wrong("spec", oneLine(err)+": report this")
		return
	}
	c.env, c.kind, c.effective, c.natures = env, e.kind, map[string]bool{}, natures{}
	spec := c.rule.spec
	for i, m := range spec.MatchConditions {
		field := fmt.Sprintf("spec.matchConditions[%d].expression", i)
		condition := c.compile(field, m.Expression, cel.BoolType)
		c.conditional = c.conditional || condition.effective
		if c.programs {
			c.rule.conditions = append(c.rule.conditions, expression{m.Name, condition.program})
		}
	}
	for i, v := range spec.Variables {
		field := fmt.Sprintf("spec.variables[%d].", i)
		if env.has(v.Name) {
			c.wrong(field+"name", fmt.Sprintf("variable %q is there twice: rename one of them", v.Name))
			continue
		}
		variable := c.compileAny(field+"expression", v.Expression)
		env.declare(v.Name, variable.of)
		c.effective[v.Name] = variable.effective
		if variable.ast != nil {
			c.natures[v.Name] = c.natures.of(variable.ast.NativeRep().Expr(), nil)
		}
		if c.programs {
			c.rule.variables = append(c.rule.variables, expression{v.Name, variable.program})
		}
	}
	c.mutations()
	for i := range spec.Validations {
		v := validation{spec: &spec.Validations[i]}
		field := fmt.Sprintf("spec.validations[%d].", i)
		holds := c.compile(field+"expression", v.spec.Expression, cel.BoolType)
		v.holds, v.effective = holds.program, holds.effective
		v.apart = holds.ast != nil && c.natures.apart(holds.ast)
		if v.spec.MessageExpression != "" {
			v.message = c.compile(field+"messageExpression", v.spec.MessageExpression, cel.StringType).program
		}
		if c.programs {
			c.rule.validations = append(c.rule.validations, v)
		}
	}
	c.programs = false
}

// compiled is an expression. Its type is nil if it could not be compiled.
type compiled struct {
	ast     *cel.Ast
	program cel.Program
	of      *cel.Type
	// effective reports whether it reads the effective configuration, itself or by a variable.
	effective bool
}

// compile compiles an expression that must be of a type.
func (c *compiler) compile(field, text string, want *cel.Type) compiled {
	done := c.compileAny(field, text)
	if done.of != nil && !done.of.IsExactType(want) {
		c.wrong(field, fmt.Sprintf("the expression is of type %s: write one of type %s", done.of, want))
	}
	return done
}

// compileAny compiles an expression, unless ctx has ended.
func (c *compiler) compileAny(field, text string) compiled {
	if c.ctx.Err() != nil {
		return compiled{}
	}
	ast, issues := c.env.Compile(text)
	if issues.Err() != nil {
		for _, e := range issues.Errors() {
			c.wrong(field, c.words(e))
		}
		return compiled{}
	}
	if cost := c.env.cost(ast); cost > maxEstimate {
		c.warn(field, fmt.Sprintf("the expression costs more than is allowed for the largest %s, by a factor of %.2g, and fails for them: nest fewer loops, or read shorter lists",
			c.kind, float64(cost)/maxEstimate))
	}
	done := compiled{ast: ast, of: ast.OutputType(), effective: c.reads(ast)}
	if !c.programs {
		return done
	}
	c.rule.effective = c.rule.effective || done.effective
	var err error
	if done.program, err = c.env.Program(ast, cel.InterruptCheckFrequency(celconfig.CheckFrequency)); err != nil {
		c.wrong(field, oneLine(err)+": correct the expression")
		return compiled{}
	}
	return done
}

// reads reports whether an expression reads the effective configuration, itself or by a variable.
func (c *compiler) reads(ast *cel.Ast) (reads bool) {
	celast.PreOrderVisit(ast.NativeRep().Expr(), celast.NewExprVisitor(func(e celast.Expr) {
		switch e.Kind() {
		case celast.IdentKind:
			c.rule.reads[e.AsIdent()] = true
			reads = reads || e.AsIdent() == varEffective
		case celast.SelectKind:
			of := e.AsSelect().Operand()
			reads = reads || of.Kind() == celast.IdentKind && of.AsIdent() == varVariables && c.effective[e.AsSelect().FieldName()]
		default:
		}
	}))
	return reads
}

// checkEffective checks that only a rule about the effective configuration names kinds of which admission sees a part.
func (c *compiler) checkEffective() {
	for i, rule := range c.rule.spec.MatchConstraints.ResourceRules {
		for j, name := range rule.Resources {
			partial := slices.ContainsFunc(Resources, func(r Resource) bool {
				return r.Partial && r.Name == name && slices.Contains(rule.APIGroups, r.Group)
			})
			if partial && !c.rule.effective {
				c.wrong(fmt.Sprintf("spec.matchConstraints.resourceRules[%d].resources[%d]", i, j), fmt.Sprintf(
					"only rules that read effective can be about %s, because Gatehouse sees only what routes and listeners use of them: read effective, or write a ValidatingAdmissionPolicy",
					name))
			}
		}
	}
}

// words is an error of the CEL compiler as a line for users.
func (c *compiler) words(e *common.Error) string {
	text := strings.Join(strings.Fields(e.Message), " ")
	return c.at(e.Location, strings.TrimSuffix(text, " (in container '')"), "correct the expression")
}

// at is a line for users about a place in an expression: what is wrong, and the way out.
func (c *compiler) at(place common.Location, wrong, way string) string {
	if c.kind != "" {
		wrong += ", for kind " + c.kind
	}
	return fmt.Sprintf("line %d, column %d: %s: %s", place.Line(), place.Column()+1, wrong, way)
}

func (c *compiler) wrong(field, message string) {
	c.add(field, ReasonInvalid, message, verdict.Invalid)
}

func (c *compiler) warn(field, message string) {
	c.add(field, ReasonUnchecked, message, verdict.Unresolved)
}

func (c *compiler) add(field, reason, message string, weight verdict.Weight) {
	c.problems = append(c.problems, verdict.Problem{Field: field, Reason: reason, Weight: weight, Message: message})
}

// oneLine is the text of an error without line breaks.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
