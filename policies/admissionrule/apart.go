package admissionrule

import (
	"maps"

	"github.com/google/cel-go/cel"
	celast "github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/overloads"
	"github.com/google/cel-go/common/types"
)

// Most requirements about the effective configuration say that no route is like this, or that each route is like that. Such a
// requirement is met by some routes and listeners if and only if each of them meets it alone, whoever has changed them. So
// what has met it once need not be looked at again.

// nature is what an expression is to such a requirement.
type nature int

const (
	// mixed is everything that may depend on several routes at once, or on the request.
	mixed nature = iota
	// steady is the same for all requests, or depends on one route or listener only.
	steady
	// picked is a list of routes or listeners, each of which is in it or not because of itself alone.
	picked
)

// natures are those of the variables of a rule.
type natures map[string]nature

// of is the nature of an expression, in which some names are those of routes, listeners and what is in them.
func (p natures) of(e celast.Expr, local map[string]bool) nature {
	switch e.Kind() {
	case celast.LiteralKind:
		return steady
	case celast.IdentKind:
		return steadyIf(local[e.AsIdent()])
	case celast.SelectKind:
		return p.ofField(e.AsSelect(), local)
	case celast.CallKind:
		call := e.AsCall()
		return steadyIf((!call.IsMemberFunction() || p.of(call.Target(), local) == steady) && p.steady(call.Args(), local))
	case celast.ListKind:
		return steadyIf(p.steady(e.AsList().Elements(), local))
	case celast.ComprehensionKind:
		return p.ofLoop(e, local)
	default: // Maps and structs are rare.
		return mixed
	}
}

func (p natures) ofField(s celast.SelectExpr, local map[string]bool) nature {
	if of := s.Operand(); of.Kind() == celast.IdentKind && !local[of.AsIdent()] && !s.IsTestOnly() {
		switch field := s.FieldName(); of.AsIdent() {
		case varVariables:
			return p[field]
		case varEffective:
			if field == listRoutes || field == listListeners {
				return picked
			}
		}
	}
	return steadyIf(p.of(s.Operand(), local) == steady)
}

func (p natures) ofLoop(e celast.Expr, local map[string]bool) nature {
	c := e.AsComprehension()
	if filter, ok := loopOf(e, operators.Conditional); ok && filter.addsItself() && p.of(c.IterRange(), local) == picked {
		if p.of(c.LoopStep().AsCall().Args()[0], inside(local, c.IterVar())) == steady {
			return picked
		}
		return mixed
	}
	loop := inside(inside(inside(local, c.IterVar()), c.IterVar2()), c.AccuVar())
	return steadyIf(p.steady([]celast.Expr{c.IterRange(), c.AccuInit()}, local) &&
		p.steady([]celast.Expr{c.LoopCondition(), c.LoopStep(), c.Result()}, loop))
}

func (p natures) steady(all []celast.Expr, local map[string]bool) bool {
	for _, e := range all {
		if p.of(e, local) != steady {
			return false
		}
	}
	return true
}

// apart reports whether a requirement is met if and only if each route and each listener meets it alone: a list of picked ones
// is empty, or all of them are like something.
func (p natures) apart(ast *cel.Ast) bool {
	e := ast.NativeRep().Expr()
	if every, ok := loopOf(e, operators.LogicalAnd); ok {
		init, args := every.AccuInit(), every.step.AsCall().Args()
		return init.Kind() == celast.LiteralKind && init.AsLiteral() == types.True && named(args[0], every.AccuVar()) &&
			p.of(every.IterRange(), nil) == picked && p.of(args[1], inside(nil, every.IterVar())) == steady
	}
	if e.Kind() != celast.CallKind || e.AsCall().FunctionName() != operators.Equals {
		return false
	}
	size, none := e.AsCall().Args()[0], e.AsCall().Args()[1]
	if none.Kind() != celast.LiteralKind || none.AsLiteral() != types.IntZero || size.Kind() != celast.CallKind ||
		size.AsCall().FunctionName() != overloads.Size {
		return false
	}
	list := size.AsCall().Target()
	if !size.AsCall().IsMemberFunction() {
		list = size.AsCall().Args()[0]
	}
	return p.of(list, nil) == picked
}

// loop is a loop over a list whose result is what it has collected.
type loop struct {
	celast.ComprehensionExpr
	step celast.Expr
}

// loopOf returns the loop whose step is a call of a function.
func loopOf(e celast.Expr, function string) (loop, bool) {
	if e.Kind() != celast.ComprehensionKind {
		return loop{}, false
	}
	l := loop{e.AsComprehension(), e.AsComprehension().LoopStep()}
	return l, l.step.Kind() == celast.CallKind && l.step.AsCall().FunctionName() == function && !l.HasIterVar2() &&
		named(l.Result(), l.AccuVar())
}

// addsItself reports whether a loop collects entries as they are, if a condition is true.
func (l loop) addsItself() bool {
	args := l.step.AsCall().Args()
	if l.AccuInit().Kind() != celast.ListKind || l.AccuInit().AsList().Size() > 0 || !named(args[2], l.AccuVar()) ||
		args[1].Kind() != celast.CallKind || args[1].AsCall().FunctionName() != operators.Add {
		return false
	}
	sum := args[1].AsCall().Args()
	return named(sum[0], l.AccuVar()) && sum[1].Kind() == celast.ListKind && sum[1].AsList().Size() == 1 &&
		named(sum[1].AsList().Elements()[0], l.IterVar())
}

func named(e celast.Expr, name string) bool {
	return e.Kind() == celast.IdentKind && e.AsIdent() == name
}

func steadyIf(is bool) nature {
	if is {
		return steady
	}
	return mixed
}

func inside(local map[string]bool, name string) map[string]bool {
	names := map[string]bool{name: true}
	maps.Copy(names, local)
	return names
}
