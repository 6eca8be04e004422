package translator

import (
	"context"
	"fmt"
	"math"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/effective"
	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
)

// EffectiveOf returns for each object what belongs to it of the effective configuration: the rules of a route, or the
// listeners of a Gateway or a ListenerSet. Nothing belongs to other objects. It excludes batches and trials while it runs,
// so ask for a few objects at a time.
func (w *World) EffectiveOf(ctx context.Context, objects []verdict.Ref) (map[verdict.Ref]*effective.Configuration, error) {
	if err := w.turn.await(ctx); err != nil {
		return nil, fmt.Errorf("wait for the tables: %w", err)
	}
	defer w.turn.unlock()
	own := make(map[verdict.Ref]*effective.Configuration, len(objects))
	x := toucher{newTouched(), w.tables, w.engine.Read()}
	for _, ref := range objects {
		own[ref] = &effective.Configuration{}
		x.route(targetedRoute(targetOf(ref)))
	}
	for _, row := range w.tables.listeners.All(x.read) {
		if own[row.Value.ownerRef()] != nil {
			x.listeners[row.Key] = true
		}
	}
	told, err := w.tables.tell(ctx, x.read, x.touched, math.MaxInt)
	if err != nil {
		return nil, fmt.Errorf("tell of %d objects: %w", len(objects), err)
	}
	for _, r := range told.Routes {
		of := own[verdict.Ref{Group: gwapiv1.GroupName, Kind: r.Kind, Namespace: r.Namespace, Name: r.Name}]
		of.Routes = append(of.Routes, r)
	}
	for _, l := range told.Listeners {
		of := own[verdict.Ref{Group: gwapiv1.GroupName, Kind: l.Owner.Kind, Namespace: l.Owner.Namespace, Name: l.Owner.Name}]
		of.Listeners = append(of.Listeners, l)
	}
	return own, nil
}

// Follow says whether Apply returns what it touched. Whoever begins to follow and then asks for EffectiveOf misses no
// change.
func (w *World) Follow(on bool) { w.followed.Store(on) }

// owners are the objects to which belongs what changed: routes, Gateways and ListenerSets.
func (t *Tables) owners(r *flow.Read, c *flow.Changes) map[verdict.Ref]bool {
	x := toucher{newTouched(), t, r}
	x.rowsIn(c)
	owners := map[verdict.Ref]bool{}
	for key := range x.parents {
		for _, p := range versions(r, c, t.parents, key) {
			owners[p.Route.ref()] = true
		}
	}
	for key := range x.listeners {
		for _, l := range versions(r, c, t.listeners, key) {
			owners[l.ownerRef()] = true
		}
	}
	return owners
}

// versions are a row as it is now, and as it was if it changed.
func versions[V any](r *flow.Read, c *flow.Changes, table *flow.Table[V], key string) (all []V) {
	if is, has := table.Get(r, key); has {
		all = append(all, is)
	}
	if was, had := flow.Before(c, table, key); had {
		all = append(all, was)
	}
	return all
}
