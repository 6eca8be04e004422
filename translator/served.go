package translator

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"gatehouse/policies"
	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
)

// Served is a route on a listener: the objects behind what Envoy gets for it.
type Served struct {
	// Fleet is the Gateway's namespace/name.
	Fleet string
	// Config is the name of the route configuration, or what the names of the scopes begin with. It is empty on a
	// listener that forwards connections.
	Config   string
	Listener ServedListener
	Route    verdict.Ref
	Rules    []ServedRule
	Hosts    []ServedHost
	// Chain is the name of the filter chain of a route that forwards connections.
	Chain string
}

// ServedListener is a listener of a Gateway or a ListenerSet.
type ServedListener struct {
	// Key is namespace/gateway/listener, or namespace/gateway/namespace/set/listener.
	Key   string
	Owner verdict.Ref
	// Name is the name of the listener in its Owner, Hostname is "*" if it has none.
	Name, Protocol, Hostname string
	// Port is the listener's, Target the port that Envoy binds.
	Port, Target int32
	// Certificates are the names of the secrets with its certificates.
	Certificates []string
	// Policies say how it reads requests.
	Policies []ServedPolicy
	// Serves reports whether Envoy gets the listener.
	Serves bool
}

// ServedRule is a rule of a route.
type ServedRule struct {
	Name string
	// Policies take effect on the rule: those of one kind follow each other if they are merged, the most specific one
	// first.
	Policies []ServedPolicy
	// Backends are those with a share of the requests, and fallbacks.
	Backends []ServedBackend
}

// ServedPolicy is a policy in effect.
type ServedPolicy struct {
	Ref verdict.Ref
	// Target is where it is attached, in the words of messages.
	Target string
	// Fields are the parts of its spec, without those that say where and how it is attached.
	Fields []string
	// Filters are the HTTP filters that it configures, by name.
	Filters []string
	// Sum is equal for equal specs.
	Sum string
	// Broken reports whether everything that it covers fails.
	Broken bool
}

// ServedBackend is a backendRef of a rule.
type ServedBackend struct {
	// Ref has no name if the backendRef cannot be used. Then its share fails.
	Ref    verdict.Ref
	Port   int32
	Weight uint32
	// Fallback reports whether the backend gets requests only if the others of the rule cannot.
	Fallback bool
	// TLS is the policy for TLS to the backend. It has no name if there is none.
	TLS verdict.Ref
}

// ServedHost is a virtual host, or a scope, with routes of the route.
type ServedHost struct {
	Host   string
	Routes []ServedMatch
}

// ServedMatch is a route of Envoy and the match that it is made of. Match is -1 for a rule without matches.
type ServedMatch struct {
	Name        string
	Rule, Match int
}

// Served lists all routes on all listeners, sorted by fleet, listener and route.
func (w *World) Served() []Served {
	w.turn.lock()
	defer w.turn.unlock()
	v := newServedView(w)
	listeners := map[string]ServedListener{}
	for _, l := range v.listeners.All(v.read) {
		listeners[l.Key] = v.listener(l.Value)
	}
	var all []Served
	for _, b := range v.bindings.All(v.read) {
		if s, ok := v.route(b.Key, b.Value); ok {
			s.Listener = listeners[s.Listener.Key]
			all = append(all, s)
		}
	}
	slices.SortStableFunc(all, func(a, b Served) int {
		return strings.Compare(a.Listener.Key+" "+a.Route.String(), b.Listener.Key+" "+b.Route.String())
	})
	return all
}

// Listeners lists all listeners, served or not, sorted by their keys.
func (w *World) Listeners() []ServedListener {
	w.turn.lock()
	defer w.turn.unlock()
	v := newServedView(w)
	var all []ServedListener
	for _, l := range v.listeners.All(v.read) {
		all = append(all, v.listener(l.Value))
	}
	return all
}

// servedView reads the tables for Served. It describes each policy once.
type servedView struct {
	*Tables
	read    *flow.Read
	written map[policies.Object]ServedPolicy
}

func newServedView(w *World) *servedView {
	return &servedView{Tables: w.tables, read: w.engine.Read(), written: map[policies.Object]ServedPolicy{}}
}

func (v *servedView) listener(l *listenerRow) ServedListener {
	s := ServedListener{
		Key: l.Key, Owner: l.ownerRef(), Name: string(l.Spec.Name), Protocol: string(l.Spec.Protocol),
		Hostname: l.hostname(), Port: l.Spec.Port, Target: l.bindPort(), Certificates: l.Secrets, Serves: l.Serves,
	}
	if row, ok := v.listenerPolicies.Get(v.read, l.Key); ok {
		for _, member := range row.Policy.Members {
			p := v.policy(row.Policy.Kind, member)
			p.Target, p.Broken = row.Target.String(), row.Policy.Broken
			s.Policies = append(s.Policies, p)
		}
	}
	return s
}

// route describes a binding of a route. Bindings of filters of listeners have none.
func (v *servedView) route(key string, b *bindingRow) (Served, bool) {
	parent, listener := splitLast(key)
	p, ok := v.parents.Get(v.read, parent)
	if !ok {
		return Served{}, false
	}
	l, _ := v.listeners.Get(v.read, listener)
	rules, _ := v.rulesOf.Get(v.read, p.Route.Key)
	s := Served{
		Fleet: b.Fleet, Config: b.ConfigName, Listener: ServedListener{Key: listener}, Route: p.Route.ref(),
	}
	if b.Forward != nil {
		s.Chain = b.Forward.Name
	}
	for i := range rules.Rules {
		rule := ServedRule{Name: string(deref(p.Route.Rules[i].Name))}
		rule.Policies = v.effective(v.places(v.read, p.Route, i, l))
		for _, to := range rules.Rules[i].Backends {
			rule.Backends = append(rule.Backends, servedBackend(to))
		}
		s.Rules = append(s.Rules, rule)
	}
	for _, h := range b.Hosts {
		host := ServedHost{Host: h.Host}
		for _, route := range h.Routes {
			host.Routes = append(host.Routes, ServedMatch{Name: route.Name, Rule: route.Order.rule, Match: route.Order.match})
		}
		s.Hosts = append(s.Hosts, host)
	}
	return s, true
}

// effective lists the policies that take effect along a chain of targets.
func (v *servedView) effective(chain []policies.Target) (all []ServedPolicy) {
	along := v.winnersAlong(v.read, chain)
	for kind := range policies.Kinds {
		if along.none {
			break
		}
		members := along.line(kind)
		effect, _ := v.policyEffects.Get(v.read, mergedKey(members))
		filters := v.filtersOf(effect)
		for _, key := range members {
			row, ok := v.policies.Get(v.read, key)
			if !ok {
				continue // Unreachable: each winner has its row.
			}
			at := slices.IndexFunc(chain, func(target policies.Target) bool { return along.at(kind, target).Key == key })
			p := v.policy(row.Kind, row.Policy)
			p.Target, p.Filters, p.Broken = chain[at].String(), filters, effect != nil && effect.Broken
			all = append(all, p)
		}
	}
	return all
}

// filtersOf lists the filters that a policy configures.
func (v *servedView) filtersOf(effect *effectRow) []string {
	if effect == nil {
		return nil
	}
	names := slices.Collect(maps.Keys(effect.Route.TypedPerFilterConfig))
	configs, _ := v.policyFilters.Get(v.read, effect.Key)
	for _, c := range configs {
		names = append(names, c.Filter)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// attachingFields are the fields of a policy that say where and how it is attached.
var attachingFields = []string{"targetRef", "targetRefs", "targetSelectors", "mergeType"}

// policy describes a policy as it is written.
func (v *servedView) policy(kind policies.Kind, p policies.Object) ServedPolicy {
	described, known := v.written[p]
	if known {
		return described
	}
	described.Ref = kind.Ref(p)
	var written struct{ Spec map[string]json.RawMessage }
	if text, err := json.Marshal(p); err == nil && json.Unmarshal(text, &written) == nil {
		for _, name := range attachingFields {
			delete(written.Spec, name)
		}
		described.Fields = slices.Sorted(maps.Keys(written.Spec))
		text, _ := json.Marshal(written.Spec) // It was decoded from JSON.
		described.Sum = hash(text, 16)
	}
	v.written[p] = described
	return described
}

func servedBackend(b backend) ServedBackend {
	s := ServedBackend{Weight: b.Weight, Fallback: b.Fallback}
	if b.To == nil {
		return s
	}
	s.Ref = verdict.Ref{Group: b.To.Kind.group, Kind: b.To.Kind.name, Namespace: b.To.Namespace, Name: b.To.Name}
	s.Port = b.Port.Number
	if b.TLS != nil && b.TLS.Policy != nil {
		s.TLS = policies.BackendTLS.Ref(b.TLS.Policy)
	}
	return s
}
