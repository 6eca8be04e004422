package admissionrule

import (
	"context"
	"maps"
	"slices"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	admissionv1 "k8s.io/api/admission/v1"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
)

// changes reports whether the request changes an object that is stored. Nothing is held against the author of a change
// that was so before. A deletion has no such excuse: rules about it are about the deletion itself.
func (in *Input) changes() bool {
	return in.OldObject != nil && in.Request.Operation != admissionv1.Delete
}

// before is the state before the request, in the form of a request.
func (in *Input) before() *Input {
	stored := *in
	stored.stored = true
	if in.changes() {
		stored.Object = in.OldObject
	}
	return &stored
}

// compare evaluates the rule for what was there before the request, and marks the violations that were there then.
func (r *Rule) compare(ctx context.Context, in *Input, all []any, found []violation) {
	stored := in.before()
	var before []violation
	if r.matches(stored) {
		before = r.violations(ctx, stored, all)
	}
	for i := range found {
		v := &found[i]
		switch {
		case !v.Effective:
			v.Before = in.changes() && slices.Contains(before, *v)
		case v.Failed:
			_, err := in.effects()
			v.Before = err == nil && slices.Contains(before, *v)
		case slices.ContainsFunc(before, func(b violation) bool { return b.of == v.of && b.params == v.params && !b.Failed }):
			blamed, fresh := r.blame(ctx, in, all, v)
			switch {
			case !blamed: // Such as a sum that is too high.
				v.Before = slices.Contains(before, *v)
			case fresh == "":
				v.Before = true
			default:
				v.Message = fresh
			}
		}
	}
}

// blame finds the routes and listeners that violate a requirement alone, and returns whether there are any. If some of
// them did not violate it before the request, it also returns the message about these.
func (r *Rule) blame(ctx context.Context, in *Input, all []any, v *violation) (blamed bool, fresh string) {
	effects, err := in.effects()
	if err != nil {
		return false, ""
	}
	b := &budget{ctx: ctx, left: celconfig.RuntimeCELCostBudget}
	now := &lone{rule: r, of: v.of, budget: b, values: in.values(all[v.params])}
	then := &lone{rule: r, of: v.of, budget: b, values: in.before().values(all[v.params])}
	before, after := effects.before.places(), effects.after.places()
	var guilty []piece
	for _, p := range effects.after.pieces() {
		if now.judge(p) == types.True {
			continue
		}
		blamed = true
		was := p.predecessors(before[p.place()], after[p.place()])
		if !slices.ContainsFunc(was, func(b piece) bool { return then.judge(b) == types.False }) {
			guilty = append(guilty, p)
		}
	}
	if len(guilty) > 0 {
		fresh = v.of.words(b, now.with(guilty))
	}
	return blamed, fresh
}

// lone evaluates a requirement as if only some routes and listeners were there.
type lone struct {
	rule   *Rule
	of     *validation
	budget *budget
	values map[string]any
}

func (l *lone) with(pieces []piece) map[string]any {
	values := maps.Clone(l.values)
	values[varEffective] = only(pieces)
	l.rule.bind(l.budget, values)
	return values
}

// judge returns nil if the requirement cannot be evaluated.
func (l *lone) judge(p piece) ref.Val {
	value, err := l.budget.run(l.of.holds, l.with([]piece{p}))
	if err != nil {
		return nil
	}
	return value
}
