package admissionrule

import (
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"

	"gatehouse/policies/effective"
)

// Effects are what a request does to the effective configuration: variable effective, before and after the request.
// They are safe for concurrent use.
type Effects struct {
	before, after side
}

// side is one of both.
type side struct {
	of   *effective.Configuration
	data map[string]any
}

// NewEffects prepares both for rules; nil stands for nothing. It returns an error if not all is in them, since rules
// could conclude then that something is not there.
func NewEffects(before, after *effective.Configuration) (*Effects, error) {
	e := &Effects{}
	for _, s := range []struct {
		into *side
		of   *effective.Configuration
	}{{&e.before, before}, {&e.after, after}} {
		if s.of == nil {
			s.of = &effective.Configuration{}
		}
		if s.of.Cut {
			return nil, fmt.Errorf("the change touches too many routes: only the first %d of their rules could be looked at",
				len(s.of.Routes))
		}
		data, err := s.of.Data()
		if err != nil {
			return nil, err
		}
		*s.into = side{s.of, data}
	}
	return e, nil
}

// effectsError is why the effects of a request are not known.
type effectsError struct{ error }

func (e effectsError) Unwrap() error { return e.error }

// effects are those of the request, or an effectsError.
func (in *Input) effects() (*Effects, error) {
	if in.Effects == nil {
		return nil, effectsError{errors.New("effective is not known here")}
	}
	effects, err := in.Effects()
	if err != nil {
		return nil, effectsError{err}
	}
	return effects, nil
}

// side is what the rule is evaluated for: before the request or after it.
func (in *Input) side() (side, error) {
	effects, err := in.effects()
	switch {
	case err != nil:
		return side{}, err
	case in.stored:
		return effects.before, nil
	}
	return effects.after, nil
}

// effective is the value of variable effective, which is computed when an expression first reads it.
func (in *Input) effective() func() ref.Val {
	return func() ref.Val {
		s, err := in.side()
		if err != nil {
			return types.WrapErr(err)
		}
		return types.DefaultTypeAdapter.NativeToValue(s.data)
	}
}

// piece is a route or a listener of the effective configuration.
type piece struct {
	list string
	// owner and name are those of the listener, and route is the route on it.
	owner, name, route string
	// rule is nil for a listener, and listener for a route.
	rule     *effective.Route
	listener *effective.Listener
	value    any
}

const listRoutes, listListeners = "routes", "listeners"

// pieces lists the routes and the listeners.
func (s side) pieces() (pieces []piece) {
	for i, r := range s.of.Routes {
		pieces = append(pieces, piece{
			list: listRoutes, owner: r.Listener.Owner.String(), name: r.Listener.Name,
			route: r.Kind + "/" + r.Namespace + "/" + r.Name, rule: r, value: s.data[listRoutes].([]any)[i],
		})
	}
	for i, l := range s.of.Listeners {
		pieces = append(pieces, piece{
			list: listListeners, owner: l.Owner.String(), name: l.Name, listener: l, value: s.data[listListeners].([]any)[i],
		})
	}
	return pieces
}

// place is the same for all rules of a route on a listener.
func (p piece) place() piece {
	p.rule, p.listener, p.value = nil, nil, nil
	return p
}

// places are the pieces by their places.
func (s side) places() map[piece][]piece {
	places := map[piece][]piece{}
	for _, p := range s.pieces() {
		places[p.place()] = append(places[p.place()], p)
	}
	return places
}

// matchesLike reports whether two pieces of one place are the same listener, or rules that match the same.
func (p piece) matchesLike(other piece) bool {
	return p.rule == nil || reflect.DeepEqual(p.rule.Matches, other.rule.Matches)
}

// predecessors are what a piece was before, of those of its place before and after the request: the rules that match
// the same. Without any, it is the rule at the same index, if that rule is no longer there.
func (p piece) predecessors(before, after []piece) (found []piece) {
	for _, b := range before {
		if b.matchesLike(p) {
			found = append(found, b)
		}
	}
	if len(found) > 0 {
		return found
	}
	for _, b := range before {
		if b.rule.Rule == p.rule.Rule && !slices.ContainsFunc(after, b.matchesLike) {
			found = append(found, b)
		}
	}
	return found
}

// only is the value of variable effective with nothing but some pieces.
func only(pieces []piece) map[string]any {
	lists := map[string][]any{listRoutes: {}, listListeners: {}}
	for _, p := range pieces {
		lists[p.list] = append(lists[p.list], p.value)
	}
	return map[string]any{listRoutes: lists[listRoutes], listListeners: lists[listListeners], "cut": false}
}
