package translator

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
)

// World holds the live tables. Its methods may be called from any goroutine and exclude each other.
type World struct {
	turn    turn
	tables  *Tables
	engine  *flow.Engine
	batches []Batch // The last ones, the oldest first.
	tried   func(rows int)
	// followed reports whether Outcome.Touched is wanted.
	followed atomic.Bool

	// now returns the time. clock is the time in the tables, and moment the time at which it must be set again.
	now           func() time.Time
	clock, moment time.Time
	// rotated is when certificates in use were last replaced, by the keys of their Secrets.
	rotated map[string]time.Time
}

// NewWorld returns empty tables.
func NewWorld(t *Tables) *World {
	return &World{turn: make(turn, 1), tables: t, engine: flow.NewEngine(t.graph), now: time.Now, tried: func(int) {}, rotated: map[string]time.Time{}}
}

// OnTry calls a function after each trial with the number of rows that were computed, until the trial gave up if it did.
// It must be called before the first trial.
func (w *World) OnTry(tried func(rows int)) { w.tried = tried }

// turn is a lock. Waiting for it can be given up.
type turn chan struct{}

func (t turn) lock()   { t <- struct{}{} }
func (t turn) unlock() { <-t }

// await locks, or returns the error of ctx if that ends first.
func (t turn) await(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Event is a change of an input: of a Kubernetes object, or of what infrastructure and proxies report.
type Event struct {
	// Object is the object as it is now, or as it was before it was deleted.
	Object  Object
	Deleted bool

	// Fleet, Proxy and Fetched are reports. Served is a kind that this cluster serves and others do not. Dropped is a
	// field that the cluster's CRDs do not have. If the Event is Deleted, this is no longer so. An Event has one of
	// Object, Fleet, Proxy, Fetched, Served and Dropped.
	Fleet   *FleetReport
	Proxy   *Proxy
	Served  *schema.GroupKind
	Dropped *Field
	Fetched *Fetched
}

// FleetReport is what the infrastructure reports of the Gateway with that key.
type FleetReport struct {
	Key   string
	Fleet FleetStatus
}

// Outcome is what a batch of events changed.
type Outcome struct {
	Deltas []Delta
	// Statuses are those that may have to be written.
	Statuses []*Status
	// Forgotten are the objects that no longer have a status, because they were deleted or belong to another controller
	// now.
	Forgotten []Object
	// Requirements are the changed ones by Gateway. Nil means that the Gateway is gone or not ours any more.
	Requirements map[string]*Requirement
	// Fetches are the changed ones by their keys. Nil means that nothing needs the content any more.
	Fetches map[string]*Fetch
	// Classes reports whether Gateways use GatewayClasses, for each class for which this changed or that was created
	// again.
	Classes map[string]ClassUse
	// Touched are the routes, Gateways and ListenerSets whose part of the effective configuration may have changed
	// (EffectiveOf). They may be more than those, and may be gone. It is empty unless somebody follows.
	Touched map[verdict.Ref]bool
	// Moment is the next time at which the clock alone changes something. Apply must be called then, with or without
	// events.
	Moment time.Time
}

// Apply takes a batch of events and returns what changed. It returns an error that names the objects of types that the
// translation does not know; all others are taken.
func (w *World) Apply(events []Event) (Outcome, error) {
	w.turn.lock()
	defer w.turn.unlock()
	start := time.Now()
	ticked := w.setClock()
	var unknown []string
	w.keepLost(events)
	for _, e := range events {
		if err := w.set(e); err != nil {
			unknown = append(unknown, err.Error())
		}
	}
	changes := w.engine.Commit()
	outcome := w.tables.outcome(w.engine, changes)
	w.noteRotations(changes)
	if w.followed.Load() {
		outcome.Touched = w.tables.owners(w.engine.Read(), changes)
	}
	if ticked || len(flow.Changed(changes, w.tables.certs))+len(flow.Changed(changes, w.tables.policies)) > 0 {
		w.moment = w.tables.nextMoment(w.engine.Read(), w.clock)
	}
	outcome.Moment = w.moment
	w.batch(start, len(events))
	if len(unknown) > 0 {
		return outcome, fmt.Errorf("apply events: %s", strings.Join(unknown, "; "))
	}
	return outcome, nil
}

// clockStep is how far the tables' clock may be behind. A certificate that comes into use is judged by this clock, so it
// counts as valid a bit earlier than it says. One that is in use is judged again at the moment at which it begins or ends
// to be valid.
const clockStep = time.Minute

// setClock sets the tables' clock if necessary, and reports whether it did. Most batches do not set it, so they judge
// no certificate again.
func (w *World) setClock() bool {
	now := w.now()
	if now.Before(w.moment) && !now.Before(w.clock) {
		return false
	}
	w.clock = now
	flow.Set(w.engine, w.tables.in.clock, clockKey, now)
	return true
}

func (w *World) set(e Event) error {
	in := &w.tables.in
	switch {
	case e.Fleet != nil:
		put(w, in.fleets, e.Fleet.Key, e.Fleet.Fleet, e.Deleted)
	case e.Proxy != nil:
		put(w, in.proxies, e.Proxy.key(), *e.Proxy, e.Deleted)
	case e.Fetched != nil:
		put(w, in.fetched, e.Fetched.Key, *e.Fetched, e.Deleted)
	case e.Served != nil:
		put(w, in.served, e.Served.String(), true, e.Deleted)
	case e.Dropped != nil:
		put(w, in.dropped, string(*e.Dropped), true, e.Deleted)
	default:
		input, ok := in.byType[reflect.TypeOf(e.Object)]
		if !ok {
			return fmt.Errorf("no table for %T %s", e.Object, keyOf(e.Object))
		}
		if e.Deleted {
			input.del(w.engine, input.key(e.Object))
		} else {
			input.set(w.engine, input.key(e.Object), e.Object)
		}
	}
	return nil
}

// Knows reports whether the translation reads objects of the type.
func (w *World) Knows(o Object) bool {
	_, ok := w.tables.in.byType[reflect.TypeOf(o)]
	return ok
}

// put sets or deletes a row of an input.
func put[V any](w *World, table *flow.Table[V], key string, value V, deleted bool) {
	if deleted {
		flow.Delete(w.engine, table, key)
		return
	}
	flow.Set(w.engine, table, key, value)
}

func (p *Proxy) key() string { return p.Fleet + "|" + p.Node }

// Try returns the problems that storing the object would add, on itself and on others, and leaves no trace. It gives up
// when ctx ends, even while it waits or computes, and returns an error that wraps that of ctx.
func (w *World) Try(ctx context.Context, o Object) ([]Finding, error) {
	return w.try(ctx, Event{Object: o})
}

// TryDeletion is like Try, for the deletion of the object. With a Namespace, all that is in it is deleted.
func (w *World) TryDeletion(ctx context.Context, o Object) ([]Finding, error) {
	return w.try(ctx, Event{Object: o, Deleted: true})
}

func (w *World) try(ctx context.Context, e Event) ([]Finding, error) {
	if err := w.turn.await(ctx); err != nil {
		return nil, fmt.Errorf("wait for the tables: %w", err)
	}
	defer w.turn.unlock()
	var findings []Finding
	err := w.look(ctx, e, func(c *flow.Changes) {
		findings = w.tables.added(w.engine.Read(), c, w.tables.refOf(e.Object))
	})
	return findings, err
}

// look computes what a change of an object does, looks at it, and undoes everything. The lock is held.
func (w *World) look(ctx context.Context, e Event, look func(*flow.Changes)) error {
	if !w.Knows(e.Object) {
		return fmt.Errorf("try %T %s: the translation does not know this type", e.Object, keyOf(e.Object))
	}
	events := append(w.within(e), e)
	err := w.engine.Try(ctx, func() {
		for _, e := range events {
			_ = w.set(e) // The type was just looked up, or is that of a table.
		}
	}, look)
	w.tried(w.engine.Tried())
	if err != nil {
		return fmt.Errorf("try %T %s: %w", e.Object, keyOf(e.Object), err)
	}
	return nil
}

// within are the deletions of what is in a namespace that is deleted.
func (w *World) within(e Event) (events []Event) {
	namespace, ok := e.Object.(*corev1.Namespace)
	if !ok || !e.Deleted {
		return nil
	}
	r := w.engine.Read()
	deleted := map[Object]bool{}
	for _, input := range w.tables.in.byType {
		for _, o := range input.all(r) {
			if o.GetNamespace() == namespace.Name && !deleted[o] {
				deleted[o] = true
				events = append(events, Event{Object: o, Deleted: true})
			}
		}
	}
	return events
}

// statusTables are the tables with verdicts, of all kinds.
func (t *Tables) statusTables() []*flow.Table[*Status] {
	return []*flow.Table[*Status]{
		t.envoyProxyStatuses, t.classStatuses, t.setStatuses, t.gatewayStatuses, t.routeStatuses,
		t.policyStatuses, t.backendTLSStatuses, t.budgetStatuses, t.backendStatuses,
		t.extensionStatuses,
	}
}

func (t *Tables) refOf(o Object) verdict.Ref {
	in := t.in.byType[reflect.TypeOf(o)]
	return verdict.Ref{Group: in.group, Kind: in.kind, Namespace: o.GetNamespace(), Name: o.GetName()}
}

// outcome collects what a batch changed in the results.
func (t *Tables) outcome(e *flow.Engine, c *flow.Changes) Outcome {
	r := e.Read()
	out := Outcome{
		Deltas: t.deltas(r, c), Requirements: map[string]*Requirement{}, Fetches: map[string]*Fetch{},
		Classes: map[string]ClassUse{},
	}
	for _, table := range t.statusTables() {
		for _, key := range flow.Changed(c, table) {
			if s, ok := table.Get(r, key); ok {
				out.Statuses = append(out.Statuses, s)
			} else if old, had := flow.Before(c, table, key); had {
				out.Forgotten = append(out.Forgotten, old.Object)
			}
		}
	}
	for _, key := range flow.Changed(c, t.classUses) {
		use, _ := t.classUses.Get(r, key)
		out.Classes[key] = use.Use
	}
	for _, key := range flow.Changed(c, t.requirements) {
		out.Requirements[key], _ = t.requirements.Get(r, key)
	}
	for _, key := range flow.Changed(c, t.fetches) {
		out.Fetches[key], _ = t.fetches.Get(r, key)
	}
	return out
}

// deltas sorts the changed resources by fleet.
func (t *Tables) deltas(r *flow.Read, c *flow.Changes) []Delta {
	f := fleetDeltas{t: t, read: r, changes: c, byFleet: map[string]*Delta{}}
	for _, key := range flow.Changed(c, t.gateways) {
		if _, ok := t.gateways.Get(r, key); !ok {
			f.of(key).Gone = true
		}
	}
	for _, table := range []*flow.Table[*Resource]{
		t.assignments, t.secrets, t.quicSecrets, t.clientsSecrets, t.clusterSecrets, t.zonesOfFleets, t.portListeners, t.scopes,
		t.routeConfigs, t.rateLimits,
	} {
		collect(f, table, func(res *Resource) *Resource { return res })
	}
	collect(f, t.clusters, func(row *clusterRow) *Resource { return row.Resource })
	deltas := make([]Delta, 0, len(f.byFleet))
	for _, d := range f.byFleet {
		deltas = append(deltas, *d)
	}
	slices.SortFunc(deltas, func(a, b Delta) int { return strings.Compare(a.Fleet, b.Fleet) })
	return deltas
}

// fleetDeltas gathers what a batch changed.
type fleetDeltas struct {
	t       *Tables
	read    *flow.Read
	changes *flow.Changes
	byFleet map[string]*Delta
}

func (f fleetDeltas) of(fleet string) *Delta {
	if f.byFleet[fleet] == nil {
		f.byFleet[fleet] = &Delta{Fleet: fleet}
	}
	return f.byFleet[fleet]
}

// collect adds the resources of a table's changed rows.
func collect[V any](f fleetDeltas, table *flow.Table[V], resource func(V) *Resource) {
	for _, key := range flow.Changed(f.changes, table) {
		fleet, _ := splitKey(key)
		now, ok := table.Get(f.read, key)
		var was *Resource
		if old, had := flow.Before(f.changes, table, key); had {
			was = resource(old)
		}
		if ok {
			next := resource(now)
			if !equalResources(was, next) {
				f.of(fleet).Changed = append(f.of(fleet).Changed, next)
			}
			if was != nil && was.Name != next.Name {
				f.of(fleet).Removed = append(f.of(fleet).Removed, Name{was.Type, was.Name})
			}
			continue
		}
		if was != nil {
			f.of(fleet).Removed = append(f.of(fleet).Removed, Name{was.Type, was.Name})
		}
	}
}
