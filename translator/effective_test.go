package translator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies"
	"gatehouse/policies/effective"
	"gatehouse/policies/verdict"
)

// belongsTo is the object that what is told of belongs to.
func belongsTo(before, after map[identity]any, id identity) verdict.Ref {
	ref := verdict.Ref{Group: gwapiv1.GroupName}
	told := after[id]
	if told == nil {
		told = before[id]
	}
	switch v := told.(type) {
	case *effective.Route:
		ref.Kind, ref.Namespace, ref.Name = v.Kind, v.Namespace, v.Name
	case *effective.Listener:
		ref.Kind, ref.Namespace, ref.Name = v.Owner.Kind, v.Owner.Namespace, v.Owner.Name
	}
	return ref
}

// TestOwnConfigurations: what belongs to objects is all that takes effect, each once.
func TestOwnConfigurations(t *testing.T) {
	pieces := 0
	for seed := range uint64(30) {
		h, w := tellingWorld(t, seed)
		refs := map[verdict.Ref]bool{}
		for _, o := range h.objects {
			refs[w.tables.refOf(o)] = true
		}
		own, err := w.EffectiveOf(t.Context(), slices.Collect(maps.Keys(refs)))
		if err != nil {
			t.Fatal(err)
		}
		all, left := everything(t, w), everything(t, w)
		for ref, c := range own {
			for id, piece := range named(c) {
				if diff := cmp.Diff(all[id], piece); diff != "" || belongsTo(all, all, id) != ref || left[id] == nil {
					t.Fatalf("seed %d: %s of %s (-all +own):\n%s", seed, id, ref, diff)
				}
				delete(left, id)
				pieces++
			}
		}
		if len(left) > 0 {
			t.Fatalf("seed %d: nobody has %v", seed, slices.Collect(maps.Keys(left)))
		}
	}
	if pieces < 200 {
		t.Errorf("only %d routes and listeners were told of", pieces)
	}
}

// TestTrialTellsAllThatAChangeTouches: what a trial says is what really changes, of all that takes effect, whatever
// object changes. Nothing is left out, and nothing is told of besides except for what belongs to the object. The batch that
// makes the change names the objects to which belongs what changes.
func TestTrialTellsAllThatAChangeTouches(t *testing.T) {
	different, kinds := 0, map[string]int{}
	for seed := range uint64(60) {
		h, w := tellingWorld(t, seed)
		w.Follow(true)
		for range 12 {
			before := everything(t, w)
			change := h.change()
			name := fmt.Sprintf("%T %s (deleted: %t)", change.Object, keyOf(change.Object), change.Deleted)
			trial, err := w.TryEffective(t.Context(), change)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(before, everything(t, w)); diff != "" {
				t.Fatalf("seed %d: the trial left a trace (-before +after):\n%s", seed, diff)
			}
			outcome, err := w.Apply(append(w.within(change), change))
			if err != nil {
				t.Fatal(err)
			}
			after := everything(t, w)
			was, is := named(trial.Before), named(trial.After)
			for id := range merged(before, after) {
				differs := !cmp.Equal(before[id], after[id])
				if _, told := merged(was, is)[id]; differs && !told {
					t.Fatalf("seed %d: %s: the trial does not tell of %s: (-before +after)\n%s", seed, name, id,
						cmp.Diff(before[id], after[id]))
				}
				if owner := belongsTo(before, after, id); differs && !outcome.Touched[owner] {
					t.Fatalf("seed %d: %s: %s of %s changes, and the batch does not say so", seed, name, id, owner)
				}
				if differs {
					different++
					kinds[fmt.Sprintf("%T", change.Object)]++
				}
			}
			for id := range merged(was, is) {
				if diff := cmp.Diff(before[id], was[id]) + cmp.Diff(after[id], is[id]); diff != "" {
					t.Fatalf("seed %d: %s: the trial says of %s (-true +told):\n%s", seed, name, id, diff)
				}
				own := strings.Contains(id.owner+" "+id.route+" ", "/"+keyOf(change.Object))
				if cmp.Equal(was[id], is[id]) && !own {
					t.Fatalf("seed %d: %s: the trial tells of %s, which does not change", seed, name, id)
				}
			}
		}
	}
	if different < 1000 || len(kinds) < 12 {
		t.Errorf("only %d things changed by changes of %v", different, slices.Sorted(maps.Keys(kinds)))
	}
}

func (id identity) String() string {
	return fmt.Sprintf("%s %s of %s (%d, %d)", id.route, id.name, id.owner, id.parent, id.ofRoute)
}

// named is a configuration by what it tells of.
func named(c *effective.Configuration) map[identity]any {
	all := map[identity]any{}
	for _, r := range c.Routes {
		all[routeIdentity(r)] = r
	}
	for _, l := range c.Listeners {
		all[listenerIdentity(l)] = l
	}
	return all
}

func everything(t *testing.T, w *World) map[identity]any {
	t.Helper()
	c, err := w.Effective(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return named(c)
}

func merged(a, b map[identity]any) map[identity]any {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

// TestEffectiveAgreesWithEnvoy: what is told of a rule is what its routes in Envoy do, in random worlds.
func TestEffectiveAgreesWithEnvoy(t *testing.T) {
	seen := map[string]int{}
	for seed := range uint64(150) {
		_, w := tellingWorld(t, seed)
		told, r := everything(t, w), w.engine.Read()
		for _, parent := range w.tables.parents.All(r) {
			for _, a := range parent.Value.Listeners {
				b, ok := w.tables.bindings.Get(r, parent.Key+"|"+a.Listener.Key)
				if !ok || b.Forward != nil || len(b.Hosts) == 0 {
					continue
				}
				for i := range parent.Value.Route.Rules {
					id := identity{
						owner: a.Listener.ownerRef().String(), name: string(a.Listener.Spec.Name),
						route: parent.Value.Route.ref().String(), parent: int64(parent.Value.Index), ofRoute: int64(i),
					}
					route, ok := told[id].(*effective.Route)
					if !ok {
						t.Fatalf("seed %d: nothing is told of %s", seed, id)
					}
					sent, says := sentRoutes(t, w, b, i), facts(route)
					if diff := cmp.Diff(observe(sent, b), says); diff != "" {
						t.Fatalf("seed %d: %s (-Envoy +told):\n%s\n%v", seed, id, diff, sent)
					}
					for fact := range says {
						seen[fact]++
					}
				}
			}
		}
	}
	for _, fact := range []string{
		"closed", "basicAuth", "extAuth", "authorization", "cors", "redirect", "request", "attempt", "retries", "mirrors",
	} {
		if seen[fact] < 20 {
			t.Errorf("%s was told of %d times only", fact, seen[fact])
		}
	}
}

// sentRoutes are the routes of a rule as Envoy gets them, with the filters that they have from their route
// configuration.
func sentRoutes(t *testing.T, w *World, b *bindingRow, rule int) (routes []*routev3.Route) {
	t.Helper()
	r := w.engine.Read()
	common, _ := w.tables.commons.Get(r, b.Config)
	for _, entry := range b.Hosts[0].Routes {
		if entry.Order.rule != rule {
			continue
		}
		route := &routev3.Route{}
		if err := proto.Unmarshal(entry.Rest, route); err != nil {
			t.Fatal(err)
		}
		for kind := range policies.Kinds {
			configs, _ := w.tables.policyFilters.Get(r, common.policy(kind).Key)
			for _, config := range configs {
				if route.TypedPerFilterConfig[config.Filter] == nil {
					setFilter(route, config.Filter, config.Config)
				}
			}
		}
		routes = append(routes, route)
	}
	return routes
}

// observe finds out what the routes of a rule do, if they all do it.
func observe(routes []*routev3.Route, b *bindingRow) map[string]string {
	facts := map[string]string{}
	failed := func(r *routev3.Route) bool { return r.GetDirectResponse().GetStatus() == b.Kind.failure }
	working := slices.DeleteFunc(slices.Clone(routes), failed)
	if len(working) == 0 || b.Guard != nil && b.Guard.Closed {
		return map[string]string{"closed": "true"}
	}
	first := working[0]
	facts["basicAuth"] = has(first, "envoy.filters.http.composite/basic_auth", "v3.BasicAuth")
	facts["extAuth"] = has(first, "envoy.filters.http.composite/ext_authz", "v3.ExtAuthz") +
		has(first, "envoy.filters.http.composite/ext_authz/policy", "v3.ExtAuthz")
	facts["authorization"] = has(first, "envoy.filters.http.rbac", "v3.Action")
	facts["cors"] = has(first, "envoy.filters.http.cors", "")
	if action := first.GetRedirect(); action != nil {
		facts["redirect"] = action.GetSchemeRedirect() + "/" + fmt.Sprint(action.ResponseCode)
	}
	if action := first.GetRoute(); action != nil {
		if facts["request"] = span(action.Timeout); b.Kind.http2 && facts["request"] == "0s" {
			facts["request"] = "" // The default.
		}
		facts["attempt"] = span(action.RetryPolicy.GetPerTryTimeout())
		if policy := action.RetryPolicy; policy != nil {
			facts["retries"] = fmt.Sprint(policy.GetNumRetries().GetValue(), policy.RetriableStatusCodes)
		}
		facts["mirrors"] = strings.Repeat("+", len(action.RequestMirrorPolicies))
	}
	maps.DeleteFunc(facts, func(_, fact string) bool { return fact == "" })
	return facts
}

// has reports whether a filter has a configuration on a route that contains something.
func has(route *routev3.Route, filter, what string) string {
	if config := route.TypedPerFilterConfig[filter]; config != nil && bytes.Contains(config.Value, []byte(what)) {
		return "true"
	}
	return ""
}

func span(d *durationpb.Duration) string {
	if d == nil {
		return ""
	}
	return d.AsDuration().String()
}

// facts are what is told of a rule, in the words of observe.
func facts(route *effective.Route) map[string]string {
	if route.Closed {
		return map[string]string{"closed": "true"}
	}
	facts := map[string]string{}
	if auth := route.Authentication; auth != nil {
		kinds := auth.Kinds
		if ofListener := route.Listener.Authentication; ofListener != nil {
			kinds = kinds[len(ofListener.Kinds):] // Its filters are not on the routes.
		}
		for _, kind := range kinds {
			facts[kind] += "true"
		}
	}
	if route.Authorization != nil {
		facts["authorization"] = "true"
	}
	if route.CORS != nil {
		facts["cors"] = "true"
	}
	if to := route.Redirect; to != nil {
		facts["redirect"] = to.Scheme + "/" + fmt.Sprint(redirectCodes[to.StatusCode])
		return facts
	}
	if timeouts := route.Timeouts; timeouts != nil && timeouts.Request != nil {
		facts["request"] = timeouts.Request.Duration.String()
	}
	if timeouts := route.Timeouts; timeouts != nil && timeouts.Attempt != nil {
		facts["attempt"] = timeouts.Attempt.Duration.String()
	}
	if route.Retries != nil {
		facts["retries"] = fmt.Sprint(route.Retries.Attempts, route.Retries.StatusCodes)
	}
	if len(route.Mirrors) > 0 {
		facts["mirrors"] = strings.Repeat("+", len(route.Mirrors))
	}
	return facts
}

var redirectCodes = map[int64]routev3.RedirectAction_RedirectResponseCode{
	301: routev3.RedirectAction_MOVED_PERMANENTLY, 302: routev3.RedirectAction_FOUND,
	303: routev3.RedirectAction_SEE_OTHER, 307: routev3.RedirectAction_TEMPORARY_REDIRECT,
	308: routev3.RedirectAction_PERMANENT_REDIRECT,
}

// TestTrialsOfConfigurationsAreGivenUp: who asks for too much stops waiting when its time is over.
func TestTrialsOfConfigurationsAreGivenUp(t *testing.T) {
	w := benchWorld(t, 50)
	for patience := range 5000 {
		_, err := w.TryEffective(&impatient{t.Context(), patience}, Event{Object: gatewayPolicy(1)})
		if err == nil {
			return
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("after %d: %v", patience, err)
		}
	}
	t.Error("it is never done")
}

// TestMoreThanAllIsCut: a change that touches too many routes says that it does not tell of all.
func TestMoreThanAllIsCut(t *testing.T) {
	w := benchWorld(t, 20)
	at := newTouched()
	for _, row := range w.tables.parents.All(w.engine.Read()) {
		at.parents[row.Key] = true
	}
	for most, want := range map[int]bool{19: true, 20: false} {
		told, err := w.tables.tell(t.Context(), w.engine.Read(), at, most)
		if err != nil {
			t.Fatal(err)
		}
		if told.Cut != want || len(told.Routes) != most {
			t.Errorf("of 20 routes %d are told of, at most %d, and it is cut: %t", len(told.Routes), most, told.Cut)
		}
	}
}
