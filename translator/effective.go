package translator

import (
	"context"
	"fmt"
	"math"
	"reflect"
	"slices"

	"gatehouse/policies/effective"
	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
)

// The effective configuration is what the tables come to, as data for rules. It is not kept in tables: it is made of
// their rows when somebody asks for it, by the functions that also make what is sent to Envoy (decision 070).

// mostEffective is how many rules of routes, each on each of its listeners, are told of at once. A change that touches
// more of them is told of in part (effective.Configuration, Cut).
const mostEffective = 20_000

// Trial is what a change would do.
type Trial struct {
	// Findings are the problems that it would add, on the object and on others.
	Findings []Finding
	// Before and After are what it touches of the effective configuration, without the change and with it: what differs
	// in any way, and the routes or the listeners of the object itself. Both are cut if one of them is.
	Before, After *effective.Configuration
}

// TryEffective is Try for a change, which may be a deletion too, with what it would do to the effective configuration.
func (w *World) TryEffective(ctx context.Context, change Event) (Trial, error) {
	if err := w.turn.await(ctx); err != nil {
		return Trial{}, fmt.Errorf("wait for the tables: %w", err)
	}
	defer w.turn.unlock()
	var trial Trial
	var at *touched
	var failed error
	err := w.look(ctx, change, func(c *flow.Changes) {
		r := w.engine.Read()
		trial.Findings = w.tables.added(r, c, w.tables.refOf(change.Object))
		at = w.tables.touchedBy(r, c, change.Object)
		trial.After, failed = w.tables.tell(ctx, r, at, mostEffective)
	})
	if err != nil {
		return Trial{}, err
	}
	if failed == nil {
		trial.Before, failed = w.tables.tell(ctx, w.engine.Read(), at, mostEffective)
	}
	if failed != nil {
		return Trial{}, fmt.Errorf("try %T %s: %w", change.Object, keyOf(change.Object), failed)
	}
	trial.keepTouched(w.tables.refOf(change.Object))
	return trial, nil
}

// Effective returns the effective configuration as a whole.
func (w *World) Effective(ctx context.Context) (*effective.Configuration, error) {
	if err := w.turn.await(ctx); err != nil {
		return nil, fmt.Errorf("wait for the tables: %w", err)
	}
	defer w.turn.unlock()
	r, at := w.engine.Read(), newTouched()
	for _, row := range w.tables.parents.All(r) {
		at.parents[row.Key] = true
	}
	for _, row := range w.tables.listeners.All(r) {
		at.listeners[row.Key] = true
	}
	return w.tables.tell(ctx, r, at, math.MaxInt)
}

// keepTouched leaves what differs, and what belongs to the object.
func (trial *Trial) keepTouched(object verdict.Ref) {
	before, after := trial.Before, trial.After
	before.Routes, after.Routes = differing(before.Routes, after.Routes, routeIdentity, func(r *effective.Route) bool {
		return r.Kind == object.Kind && r.Namespace == object.Namespace && r.Name == object.Name
	})
	before.Listeners, after.Listeners = differing(before.Listeners, after.Listeners, listenerIdentity,
		func(l *effective.Listener) bool { return l.Owner == effective.ObjectOf(object) })
	before.Cut = before.Cut || after.Cut
	after.Cut = before.Cut
}

// identity distinguishes what is told: a listener, or a rule of a route on it.
type identity struct {
	owner, name     string
	route           string
	parent, ofRoute int64
}

func routeIdentity(r *effective.Route) identity {
	return identity{
		r.Listener.Owner.String(), r.Listener.Name, r.Kind + "/" + r.Namespace + "/" + r.Name, r.Parent, r.Rule,
	}
}

func listenerIdentity(l *effective.Listener) identity {
	return identity{owner: l.Owner.String(), name: l.Name}
}

// differing leaves what is not the same in both lists, and what is the object's own.
func differing[T any](before, after []*T, identify func(*T) identity, own func(*T) bool) (was, is []*T) {
	index := func(all []*T) map[identity]*T {
		byIdentity := make(map[identity]*T, len(all))
		for _, v := range all {
			byIdentity[identify(v)] = v
		}
		return byIdentity
	}
	old, now := index(before), index(after)
	same := func(v *T) bool {
		id := identify(v)
		return !own(v) && reflect.DeepEqual(old[id], now[id])
	}
	return slices.DeleteFunc(before, same), slices.DeleteFunc(after, same)
}
