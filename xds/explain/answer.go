package explain

import (
	"fmt"
	"slices"
	"strings"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/verdict"
	"gatehouse/translator"
)

// Background is what is known of the objects behind the resources.
type Background struct {
	Served    []translator.Served
	Listeners []translator.ServedListener
	Statuses  []*translator.Status
	Findings  []Problem
	// Endpoints reports whether endpoints are known. If not, clusters without endpoints mean nothing.
	Endpoints bool
	// Place says in which file and line a field of an object is. It may be empty.
	Place func(object verdict.Ref, field string) string
}

// Problem is something that is wrong with an object.
type Problem struct {
	Object  verdict.Ref
	Field   string
	Message string
}

// Answer is what becomes of a request, with the objects behind it.
type Answer struct {
	Request string `json:"request"`
	// Gateway is namespace/name.
	Gateway  string    `json:"gateway"`
	Listener *Listener `json:"listener,omitempty"`
	// Host is the hostname that has the request, and Path the path with which routes are matched.
	Host string `json:"host,omitempty"`
	Path string `json:"path,omitempty"`
	// Status is set if Envoy answers without a backend. It is 0 if the connection is closed.
	Status *int   `json:"status,omitempty"`
	Why    string `json:"why,omitempty"`
	// Passed are the filters of the listener, which a request passes before a route is chosen.
	Passed []Filter `json:"passed,omitempty"`
	// Routes take the request; several of them share the requests out.
	Routes []Route `json:"routes,omitempty"`
	// Otherwise are the routes that would take it, in this order, if those before them were not there.
	Otherwise []Route `json:"otherwise,omitempty"`
	// Missed are routes with the path that do not match.
	Missed   []Route  `json:"missed,omitempty"`
	Problems []string `json:"problems,omitempty"`
	Notes    []string `json:"notes,omitempty"`
}

// Listener is a listener of a Gateway or a ListenerSet.
type Listener struct {
	Object   string   `json:"object"`
	Name     string   `json:"name"`
	Port     int32    `json:"port"`
	Protocol string   `json:"protocol"`
	Hostname string   `json:"hostname"`
	Place    string   `json:"place,omitempty"`
	Policies []Policy `json:"policies,omitempty"`
}

// Policy is a policy in effect.
type Policy struct {
	Object string   `json:"object"`
	Target string   `json:"target"`
	Fields []string `json:"fields,omitempty"`
	Place  string   `json:"place,omitempty"`
}

// Filter is an HTTP filter of Envoy and the object that configures it.
type Filter struct {
	Name string `json:"name"`
	From string `json:"from"`
}

// Route is a route of Envoy and the match of an object from which it comes.
type Route struct {
	Name   string `json:"name"`
	Object string `json:"object,omitempty"`
	Field  string `json:"field,omitempty"`
	Place  string `json:"place,omitempty"`
	Host   string `json:"host,omitempty"`
	// Share is the part of the requests in percent, if there are several routes.
	Share float64 `json:"share,omitempty"`
	// Why says why it does not match.
	Why string `json:"why,omitempty"`
	// Action says what the route does.
	Action   string    `json:"action,omitempty"`
	Backends []Backend `json:"backends,omitempty"`
	Filters  []Filter  `json:"filters,omitempty"`
	Policies []Policy  `json:"policies,omitempty"`

	from  *translator.Served
	match translator.ServedMatch
}

// Backend is a cluster that gets requests.
type Backend struct {
	Cluster string `json:"cluster"`
	// Share is in percent of the requests of the route.
	Share     float64 `json:"share"`
	Endpoints int     `json:"endpoints"`
	Why       string  `json:"why,omitempty"`
	// Of lists the backends of a cluster that has several.
	Of []string `json:"of,omitempty"`
}

// Explain says what becomes of a request in a fleet.
func Explain(f *Fleet, b *Background, r *Request, written string) (*Answer, error) {
	met, err := f.Meet(r)
	if err != nil {
		return nil, err
	}
	x := &explanation{fleet: f, Background: b, met: met, request: r}
	x.Answer = Answer{Request: written, Gateway: f.Name, Host: met.Domain}
	if x.Path = met.Seen; met.Seen == r.Path {
		x.Path = ""
	}
	if met.Reply != nil {
		x.Status, x.Why = &met.Reply.Status, met.Reply.Why
	}
	for i := range met.Chosen {
		x.Routes = append(x.Routes, x.taken(&met.Chosen[i], len(met.Chosen) > 1))
	}
	for _, c := range met.Later {
		if met.Passage == nil || c.Route.Name != met.Passage.Route.Name {
			x.Otherwise = append(x.Otherwise, x.candidate(c))
		}
	}
	for _, c := range met.Missed {
		x.Missed = append(x.Missed, x.candidate(c))
	}
	x.forwards()
	x.listener()
	x.passage()
	x.problems()
	return &x.Answer, nil
}

// explanation is an Answer in the making.
type explanation struct {
	Answer
	*Background
	fleet   *Fleet
	met     *Encounter
	request *Request
}

// origin finds the match that a route of Envoy comes from.
func (x *explanation) origin(name, domain string) (*translator.Served, translator.ServedMatch) {
	for i := range x.Served {
		s := &x.Served[i]
		if s.Fleet != x.fleet.Name || s.Config != x.met.Config && s.Config+"/"+domain != x.met.Config {
			continue
		}
		for _, h := range s.Hosts {
			at := slices.IndexFunc(h.Routes, func(m translator.ServedMatch) bool { return m.Name == name })
			if h.Host == domain && at >= 0 {
				return s, h.Routes[at]
			}
		}
	}
	return nil, translator.ServedMatch{}
}

// candidate names a route and its origin.
func (x *explanation) candidate(c Candidate) Route {
	r := Route{Name: c.Route.Name, Host: c.Domain, Why: c.Why, Action: action(c.Route)}
	x.locate(&r)
	return r
}

// locate fills in where a route comes from.
func (x *explanation) locate(r *Route) {
	if r.from, r.match = x.origin(r.Name, r.Host); r.from == nil {
		return
	}
	r.Object, r.Field = r.from.Route.String(), fmt.Sprintf("spec.rules[%d]", r.match.Rule)
	if r.match.Match >= 0 {
		r.Field += fmt.Sprintf(".matches[%d]", r.match.Match)
	}
	r.Place = x.Place(r.from.Route, r.Field)
}

// taken describes a route that takes the request.
func (x *explanation) taken(c *Chosen, several bool) Route {
	r := Route{Name: c.Route.Name, Host: x.met.Domain, Action: action(c.Route)}
	if several {
		r.Share = float64(c.Share) * 100 / million
	}
	if c.Abort != 0 {
		r.Action = fmt.Sprintf("answers %d, because requests of method %s are refused unless a match names the method",
			c.Abort, x.request.Method)
	}
	x.locate(&r)
	var from []translator.ServedPolicy
	if r.from != nil {
		from = r.from.Rules[r.match.Rule].Policies
	}
	r.Policies = x.policies(from)
	if x.met.Passage != nil && r.from == nil {
		return r // The request has passed its filters already.
	}
	for _, name := range c.Filters {
		r.Filters = append(r.Filters, Filter{name, x.configures(name, from, r.Object)})
		if name == injectedFaults {
			x.Notes = append(x.Notes, "faultInjection delays requests of the route, or answers a share of them itself")
		}
	}
	if c.Abort == 0 {
		r.Backends = x.backends(c.Route, &r)
	}
	return r
}

func (x *explanation) policies(from []translator.ServedPolicy) (all []Policy) {
	for _, p := range from {
		all = append(all, Policy{Object: p.Ref.String(), Target: p.Target, Fields: p.Fields, Place: x.Place(p.Ref, "")})
	}
	return all
}

// configures names the objects that configure a filter.
func (x *explanation) configures(filter string, from []translator.ServedPolicy, rule string) string {
	var names []string
	for _, p := range from {
		if slices.Contains(p.Filters, filter) {
			names = append(names, p.Ref.String())
		}
	}
	switch {
	case len(names) > 0:
		return strings.Join(names, ", ")
	case rule != "" && !slices.Contains(always(), filter):
		return rule
	}
	return "every listener"
}

// listener describes the listener that the request has reached: that of its route, or else the one that takes it.
func (x *explanation) listener() {
	found := x.nearest()
	for i := range x.Routes {
		if from := x.Routes[i].from; from != nil {
			found = &from.Listener
		}
	}
	if found == nil {
		return
	}
	x.Listener = &Listener{
		Object: found.Owner.String(), Name: found.Name, Port: found.Port, Protocol: found.Protocol, Hostname: found.Hostname,
		Place: x.Place(found.Owner, ""), Policies: x.policies(found.Policies),
	}
}

// nearest finds the listener with the filter chain of the request, or else the one whose hostname fits best. It is nil
// if there is none.
func (x *explanation) nearest() (found *translator.ServedListener) {
	if x.met.Listener == "" {
		return nil
	}
	host, class, length := x.host(), 0, 0
	for i := range x.Listeners {
		l := &x.Listeners[i]
		if !strings.HasPrefix(l.Key, x.fleet.Name+"/") || l.Port != x.request.Port || !l.Serves {
			continue
		}
		if l.Key == x.met.Chain && x.request.TLS {
			return l
		}
		if c, n := rank(l.Hostname); has(l.Hostname, host) && (found == nil || c < class || c == class && n < length) {
			found, class, length = l, c, n
		}
	}
	return found
}

// host is the host of the request, without its port.
func (x *explanation) host() string {
	return strings.ToLower(x.request.Authority[:portStart(x.request.Authority)])
}

// passage names the filters that requests pass before a route is chosen.
func (x *explanation) passage() {
	if x.met.Passage == nil {
		return
	}
	for _, name := range x.met.Passage.Filters {
		if strings.HasPrefix(name, listenerSlot) && x.Listener != nil {
			x.Passed = append(x.Passed, Filter{name, "filters.requests of listener " + x.Listener.Name})
		}
	}
	x.Notes = append(x.Notes, "the filters of the listener are taken to let the request pass and to change no header")
}

// listenerSlot begins the names of the filters of listeners.
const listenerSlot = "envoy.filters.http.composite/listener/"

// problems lists what is wrong with the objects that have to do with the request.
func (x *explanation) problems() {
	about := map[verdict.Ref]int{} // The rule that matters, -1 for all of the object.
	for _, r := range x.Routes {
		if r.from == nil {
			continue
		}
		about[r.from.Route] = r.match.Rule
		about[r.from.Listener.Owner] = -1
		for _, p := range slices.Concat(r.from.Rules[r.match.Rule].Policies, r.from.Listener.Policies) {
			about[p.Ref] = -1
		}
	}
	if x.met.Reply != nil && (x.met.Reply.Status == 404 || x.met.Listener == "") {
		x.unattached(about)
	}
	for _, p := range x.Findings {
		rule, found := about[p.Object]
		ofRule := strings.HasPrefix(p.Field, "spec.rules[")
		if found && (rule < 0 || !ofRule || strings.HasPrefix(p.Field, fmt.Sprintf("spec.rules[%d]", rule))) {
			x.Problems = append(x.Problems, p.Object.String()+": "+field(p.Field)+p.Message)
		}
	}
}

func field(name string) string {
	if name == "" {
		return ""
	}
	return name + ": "
}

// unattached finds the routes with the host of a request that no route takes.
func (x *explanation) unattached(about map[verdict.Ref]int) {
	host := x.host()
	for _, status := range x.Statuses {
		var hostnames []gwapiv1.Hostname
		ref := verdict.Ref{
			Group: gwapiv1.GroupName, Namespace: status.Object.GetNamespace(), Name: status.Object.GetName(),
		}
		switch route := status.Object.(type) {
		case *gwapiv1.HTTPRoute:
			hostnames, ref.Kind = route.Spec.Hostnames, "HTTPRoute"
		case *gwapiv1.GRPCRoute:
			hostnames, ref.Kind = route.Spec.Hostnames, "GRPCRoute"
		case *gwapiv1.Gateway:
			if ref.Kind = "Gateway"; ref.Namespace+"/"+ref.Name != x.fleet.Name {
				continue
			}
		default:
			continue
		}
		fits := func(h gwapiv1.Hostname) bool { return has(strings.ToLower(string(h)), host) }
		if len(hostnames) == 0 || slices.ContainsFunc(hostnames, fits) {
			about[ref] = -1
		}
	}
}
