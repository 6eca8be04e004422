package admissionrule

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// Mutated is what the mutations of rules make of the object of a request.
type Mutated struct {
	// Object is that of the request if nothing changes, and otherwise another one.
	Object map[string]any
	// Changes are those of each rule that changes something, in order.
	Changes []Change
	// Findings are about rules that change nothing because their mutations failed or are not idempotent, or because the
	// object is excepted from them.
	Findings []Finding
}

// Mutate applies the mutations of rules one after the other, and then evaluates each rule on the result. A rule that
// would change the result again is left out, and so is one that fails. It returns an error only if ctx ends.
func Mutate(ctx context.Context, rules []*Rule, in *Input) (*Mutated, error) {
	m := &mutator{in: in, dropped: map[*Rule]bool{}}
	for _, r := range rules {
		if r.mutates(in) {
			m.rules = append(m.rules, r)
		}
	}
	m.params = make(map[*Rule]func() ([]any, error), len(m.rules))
	for _, r := range m.rules {
		m.params[r] = sync.OnceValues(func() ([]any, error) { return r.parameters(in) })
	}
	out := &Mutated{Object: in.Object}
	for again := len(m.rules) > 0; again; {
		m.pass(ctx, out)
		again = m.unstable(ctx, out)
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("evaluating the mutations of rules: %w", err)
		}
	}
	if len(out.Findings) == 0 || !in.changes() || in.stored {
		return out, nil
	}
	before, err := Mutate(ctx, rules, in.before())
	if err != nil {
		return nil, err
	}
	for i := range out.Findings {
		out.Findings[i].Before = slices.Contains(before.Findings, out.Findings[i])
	}
	return out, nil
}

// mutator applies rules.
type mutator struct {
	in    *Input
	rules []*Rule
	// params are the parameters of each rule, which are read once.
	params map[*Rule]func() ([]any, error)
	// dropped are the rules that change nothing.
	dropped map[*Rule]bool
}

// pass applies all rules, each to what the ones before it have made of the object.
func (m *mutator) pass(ctx context.Context, out *Mutated) {
	out.Object, out.Changes = m.in.Object, nil
	for _, r := range m.rules {
		if m.dropped[r] {
			continue
		}
		object, err := m.apply(ctx, r, out.Object)
		if err != nil {
			m.drop(r, out, r.failed(nil, err)...)
			continue
		}
		made := Change{Rule: r.name, edits: edits(out.Object, object)}
		if len(made.edits) == 0 {
			continue
		}
		kept := []Finding{{Rule: r.name, Severity: r.severity(), Problem: made.spared()}}
		if r.except(m.in, kept); kept[0].Excepted {
			m.drop(r, out, violation{Finding: kept[0]})
			continue
		}
		made.Stored = m.in.OldObject != nil && !slices.ContainsFunc(made.edits, func(e edit) bool { return !e.has(m.in.OldObject) })
		out.Object, out.Changes = object, append(out.Changes, made)
	}
}

// unstable drops the rules that would change the result again, and reports whether there are any.
func (m *mutator) unstable(ctx context.Context, out *Mutated) (found bool) {
	if len(out.Changes) == 0 {
		return false
	}
	for _, r := range m.rules {
		if m.dropped[r] {
			continue
		}
		object, err := m.apply(ctx, r, out.Object)
		at := ""
		if err == nil {
			again := edits(out.Object, object)
			if len(again) == 0 {
				continue
			}
			at = again[0].field
			err = errors.New("its mutations change this again when all rules have been applied, so they are not idempotent, or a rule that comes later by its name undoes them")
		}
		failed := r.failed(nil, err)
		for i := range failed {
			failed[i].Field = at
		}
		m.drop(r, out, failed...)
		found = true
	}
	return found
}

// drop leaves a rule out from now on.
func (m *mutator) drop(r *Rule, out *Mutated, why ...violation) {
	m.dropped[r] = true
	findings := make([]Finding, len(why))
	for i := range why {
		findings[i] = why[i].Finding
	}
	if len(findings) > 0 && !findings[0].Excepted {
		r.except(m.in, findings)
	}
	out.Findings = append(out.Findings, findings...)
}

// apply returns an object with all mutations of a rule.
func (m *mutator) apply(ctx context.Context, r *Rule, object map[string]any) (map[string]any, error) {
	in := m.in.with(object)
	if !r.matches(in) {
		return object, nil
	}
	all, err := m.params[r]()
	if err != nil {
		return nil, err
	}
	for _, params := range all {
		applies, err := r.applies(ctx, in.values(params))
		if err != nil {
			return nil, err
		}
		for i := 0; applies && i < len(r.mutations); i++ {
			changed, err := r.mutations[i].apply(ctx, r, in, params)
			if err != nil {
				return nil, fmt.Errorf("spec.mutations[%d]: %w", i, err)
			}
			in = in.with(changed)
		}
	}
	return in.Object, nil
}

// with is the request with another object.
func (in *Input) with(object map[string]any) *Input {
	changed := *in
	changed.Object = object
	return &changed
}
