package translator

import (
	"fmt"
	"slices"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies"
	"gatehouse/policies/backendtls"
	"gatehouse/policies/endpoints"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
	"gatehouse/translator/status"
)

// A Backend lists its endpoints itself: addresses or DNS names. See decision 052.

// listedRow is a Backend with its own problems.
type listedRow struct {
	Backend  *v1alpha1.Backend
	Problems []verdict.Problem
	// Idle are its fields without effect. They do no harm.
	Idle []verdict.Problem
	// TLS is what it says about TLS, nil for nothing.
	TLS *ownTLS
}

func (l *listedRow) equal(o *listedRow) bool {
	return l.Backend == o.Backend && l.TLS.equal(o.TLS) && equalProblems(l.Problems, o.Problems) &&
		equalProblems(l.Idle, o.Idle)
}

func (t *Tables) listed(r *flow.Read, _ string, b *v1alpha1.Backend) (*listedRow, bool) {
	row := &listedRow{Backend: b, Problems: slices.Concat(t.rules.Check(b), endpoints.Check(b), checkNamePorts(b),
		backendtls.CheckBackend(b)), Idle: endpoints.WithoutEffect(b)}
	t.meetListed(r, row)
	return row, true
}

// checkNamePorts finds DNS names with a port that Envoy's own pods use. The owner of a name decides what it resolves
// to. It may resolve to Envoy's loopback address, where the administration interface listens.
func checkNamePorts(b *v1alpha1.Backend) []verdict.Problem {
	var problems []verdict.Problem
	for i, e := range b.Spec.Endpoints {
		if e.FQDN != nil && slices.Contains(PodPorts, e.FQDN.Port) {
			problems = append(problems, feature.Invalid(fmt.Sprintf("spec.endpoints[%d].fqdn.port", i),
				"%d is a port of Envoy's own pods, to which a name may lead, so nothing is sent to the Backend: "+
					"use another port, or an address", e.FQDN.Port))
		}
	}
	return problems
}

// readBackend reads the endpoints of a Backend. A Backend with problems is refused as a whole.
func readBackend(l *listedRow, row *backendObject) {
	spec := &l.Backend.Spec
	row.Discovery, row.Own, row.Fallback, row.TLS = byAddress, &backendPort{}, deref(spec.Fallback), l.TLS
	if row.Refused = len(l.Problems) > 0; row.Refused {
		return
	}
	if endpoints.ByRequest(l.Backend) {
		row.Discovery = byRequest
	} else if spec.Endpoints[0].FQDN != nil {
		row.Discovery = byName
	}
	for _, e := range spec.Endpoints {
		listed := readEndpoint(e)
		same := func(o listedEndpoint) bool { return o.Host == listed.Host && o.Port == listed.Port }
		if !slices.ContainsFunc(row.Endpoints, same) {
			row.Endpoints = append(row.Endpoints, listed)
		}
	}
	if len(spec.AppProtocols) > 0 {
		row.Own.AppProtocol = string(slices.Max(spec.AppProtocols)) // wss includes the requirements of ws.
	}
	if len(row.Endpoints) == 0 {
		return
	}
	first := row.Endpoints[0].Port
	if !slices.ContainsFunc(row.Endpoints, func(e listedEndpoint) bool { return e.Port != first }) {
		row.Own.Name = strconv.Itoa(int(first))
		row.Ports = []backendPort{*row.Own}
	}
}

func readEndpoint(e v1alpha1.BackendEndpoint) listedEndpoint {
	listed := listedEndpoint{Hostname: deref(e.Hostname), Zone: deref(e.Zone)}
	if e.FQDN != nil {
		listed.Host, listed.Port = endpoints.Name(e.FQDN.Hostname), e.FQDN.Port
		return listed
	}
	address, _ := endpoints.Address(e.IP.Address) // The check of the Backend has read it without an error.
	listed.Host, listed.Port = address.String(), e.IP.Port
	return listed
}

// maxListed limits the endpoints of Backends in the rules of one route, counting rules with several backends only. With
// sessions, hashing or a fallback, such a rule has a cluster of its own, so each rule costs Envoy about 2 KiB for each
// endpoint again. A Backend can list 256 endpoints that do not exist, so pods do not limit this.
const maxListed = 8192

// limitListed enforces maxListed. A rule that exceeds the limit loses its Backends.
func (row *rulesRow) limitListed() {
	total := 0
	for i := range row.Rules {
		backends := row.Rules[i].Backends
		if len(backends) < 2 {
			continue // It shares the cluster of the backend with other rules.
		}
		before := total
		for _, b := range backends {
			total += b.countListed()
		}
		if total <= maxListed {
			continue
		}
		row.Problems = append(row.Problems, verdict.Problem{
			Field: fmt.Sprintf("spec.rules[%d].backendRefs", i), Reason: string(gwapiv1.RouteReasonUnsupportedValue),
			Weight: verdict.Unresolved, Condition: string(gwapiv1.RouteConditionResolvedRefs),
			Message: fmt.Sprintf("Backends list %d endpoints for rules with several backends up to this one, and a route "+
				"may have %d, so nothing is sent to the Backends of the rule: use fewer of them, or several routes",
				total, maxListed),
		})
		total = before
		for b := range backends {
			if backends[b].countListed() > 0 {
				backends[b].To = nil
			}
		}
	}
}

// countListed is the number of endpoints that the object lists.
func (b backend) countListed() int {
	if b.To == nil {
		return 0
	}
	return len(b.To.Endpoints)
}

// enabled reports a problem if the kind is switched off by the configuration of the control plane.
func (t *Tables) enabled(kind *backendKind) *verdict.Problem {
	if kind.setting == "" || slices.Contains(t.settings.EnabledKinds, kind.name) {
		return nil
	}
	return &verdict.Problem{
		Field: ".kind", Reason: string(gwapiv1.RouteReasonUnsupportedValue), Weight: verdict.Unresolved,
		Message: fmt.Sprintf("kind %s is switched off, so nothing is sent to it: "+
			"have it allowed by %s of the control plane's configuration, or refer to a Service", kind.name, kind.setting),
	}
}

// backendStatus reports whether requests can be sent to a Backend. The condition Accepted has no controller name, so a
// Backend that only routes of other controllers refer to gets no status.
func (t *Tables) backendStatus(r *flow.Read, key string, l *listedRow) (*Status, bool) {
	if t.refersElsewhere(r, t.routesByBackend, key) {
		return newStatus(l.Backend, nil, nil), true
	}
	problems, idle := append(slices.Clip(l.Problems), t.checkTrusts(r, l)...), l.Idle
	if off := t.enabled(backendKindNamed(v1alpha1.KindBackend)); off != nil {
		off.Field, off.Reason = "spec", "Disabled"
		problems, idle = []verdict.Problem{*off}, nil
	}
	desired := &v1alpha1.BackendStatus{Conditions: append([]metav1.Condition{status.Condition(
		string(gwapiv1.PolicyConditionAccepted), string(gwapiv1.PolicyReasonAccepted), "The Backend is accepted.", problems)},
		status.FalseOnly(feature.ConditionFields, idle)...)}
	return newStatus(l.Backend, slices.Concat(problems, idle), desired), true
}

// refersElsewhere reports whether routes refer to an object, and all of them belong to other controllers.
func (t *Tables) refersElsewhere(r *flow.Read, by *flow.Index[*routeRow], key string) bool {
	routes := by.Lookup(r, key)
	for _, route := range routes {
		if t.routeMayBeOurs(r, route.Value) {
			return false
		}
	}
	return len(routes) > 0
}

// namedBackends are the keys of the Backends that a route refers to, also in filters.
func namedBackends(_ string, route *routeRow) []string {
	var keys []string
	add := func(ref *gwapiv1.BackendObjectReference) {
		if string(deref(ref.Group)) != v1alpha1.GroupName || string(deref(ref.Kind)) != v1alpha1.KindBackend {
			return
		}
		namespace := route.Object.GetNamespace()
		if deref(ref.Namespace) != "" {
			namespace = string(*ref.Namespace)
		}
		keys = append(keys, Key(namespace, string(ref.Name)))
	}
	for i := range route.Rules {
		rule := &route.Rules[i]
		for b := range rule.BackendRefs {
			add(&rule.BackendRefs[b].BackendObjectReference)
		}
		for _, need := range policies.NeedsOfRule(rule) {
			if need.Backend == nil {
				continue
			}
			for b := range need.Backend.Refs {
				add(&need.Backend.Refs[b].BackendObjectReference)
			}
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}
