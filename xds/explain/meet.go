package explain

import (
	"fmt"
	"slices"
	"strings"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
)

// Encounter is what a request meets in Envoy.
type Encounter struct {
	Fleet string
	// Listener is Envoy's listener and Chain its filter chain. They are empty if there is none.
	Listener, Chain string
	// Config is the name of the route configuration, Host the virtual host's, and Domain the one of its domains that has
	// the host of the request.
	Config, Host, Domain string
	// Seen is the path with the query as routes are matched with it.
	Seen string
	// Reply is not nil if the request is answered without a route.
	Reply *Reply
	// Chosen are the routes that take the request. There are several if each takes a share of the requests.
	Chosen []Chosen
	// Passage is the route whose filters a request passes before a route is chosen, nil if there is none.
	Passage *Chosen
	// Later are routes that would take the request, in this order, if those before them did not.
	Later []Candidate
	// Missed are routes with the path of the request that do not match.
	Missed []Candidate
	// Forwards are the clusters of a connection that is forwarded without reading requests.
	Forwards *tcpv3.TcpProxy
}

// Chosen is a route that takes requests.
type Chosen struct {
	Route *routev3.Route
	// Share is the share of the requests in millionths.
	Share uint32
	// Filters are the HTTP filters that a request passes, in this order.
	Filters []string
	// Abort is the status with which a filter refuses the request, 0 if none does.
	Abort int
}

// Candidate is a route that does not take the request.
type Candidate struct {
	Route *routev3.Route
	// Domain is that of its virtual host.
	Domain string
	// Why it does not match, empty if it does.
	Why string
}

// Meet finds what a request meets. The error is an *Unknown if a part of Envoy is in its way that is not known, and wraps
// ErrSource if the client's address is missing.
func (f *Fleet) Meet(r *Request) (*Encounter, error) {
	e := &Encounter{Fleet: f.Name}
	l := f.listener(r.Port)
	if l == nil {
		e.Reply = &Reply{0, fmt.Sprintf("Gateway %s serves no listener with port %d for TCP", f.Name, r.Port)}
		return e, nil
	}
	e.Listener = l.Name
	c, err := chain(l, r)
	if err != nil {
		return nil, err
	}
	if c == nil {
		e.Reply = &Reply{0, fmt.Sprintf("no listener of port %d takes connections for server name %q", r.Port, r.ServerName)}
		return e, nil
	}
	e.Chain = c.Name
	return e, f.through(e, c, r)
}

// through follows a connection through a filter chain.
func (f *Fleet) through(e *Encounter, c *listenerv3.FilterChain, r *Request) error {
	where := "filter chain " + c.Name
	filters := c.Filters
	for len(filters) > 1 && slices.Contains(knownLimits, filters[0].GetName()) {
		filters = filters[1:]
	}
	if len(filters) != 1 {
		return &Unknown{Where: where, What: fmt.Sprintf("%d network filters", len(filters))}
	}
	proxy, manager := &tcpv3.TcpProxy{}, &hcmv3.HttpConnectionManager{}
	switch config := filters[0].GetTypedConfig(); {
	case config.UnmarshalTo(proxy) == nil:
		e.Forwards = proxy
		return nil
	case config.UnmarshalTo(manager) != nil:
		return &Unknown{Where: where, What: "network filter " + filters[0].Name}
	}
	switch ended := c.TransportSocket != nil; {
	case ended && !r.TLS:
		e.Reply = &Reply{0, "the listener expects TLS, and the client speaks plain HTTP"}
		return nil
	case !ended && r.TLS:
		e.Reply = &Reply{0, "the listener speaks plain HTTP, and the client begins with TLS"}
		return nil
	}
	s, reply, err := receive(where, manager, r)
	if err != nil || reply != nil {
		e.Reply = reply
		return err
	}
	e.Seen = s.path
	config, err := f.config(where, manager, s)
	if err != nil {
		return err
	}
	if config == nil {
		return e.unrouted(manager, s, fmt.Sprintf("no route of the listener has the host %q", s.authority))
	}
	e.Config = config.Name
	return e.choose(manager, config, s)
}

// unrouted is the answer to a request without a route. Filters may refuse it before.
func (e *Encounter) unrouted(m *hcmv3.HttpConnectionManager, s *seen, why string) error {
	abort, err := aborted("filter chain "+e.Chain, m, nil, s)
	if e.Reply = (&Reply{404, why}); abort != 0 {
		e.Reply = refusal(abort, s)
	}
	return err
}

// refusal is the answer of a filter that refuses a method.
func refusal(status int, s *seen) *Reply {
	return &Reply{status, fmt.Sprintf("requests of method %s are refused unless a match names the method", s.method)}
}

// choose chooses a route, and again after the filters of the listener.
func (e *Encounter) choose(m *hcmv3.HttpConnectionManager, config *routev3.RouteConfiguration, s *seen) error {
	where := "route configuration " + config.Name
	if err := only(where, config, knownConfig...); err != nil {
		return err
	}
	found := hosts(config, s.authority)
	if len(found) == 0 {
		return e.unrouted(m, s, fmt.Sprintf("no route of the listener has the host %q", s.authority))
	}
	e.Host, e.Domain = found[0].host.Name, found[0].domain
	chosen, err := e.routes(found[0], s)
	if err != nil {
		return err
	}
	for i := range chosen {
		of := levelsOf(config, found[0].host, chosen[i].Route)
		if err := chosen[i].pass(where, m, of, s); err != nil {
			return err
		}
		state, err := rechosen("route "+chosen[i].Route.Name, m, of)
		if err != nil {
			return err
		}
		if state != nil && e.Passage == nil {
			e.Passage, e.Later, e.Missed = &chosen[i], nil, nil
			return e.choose(m, config, s.copyState(state))
		}
	}
	if e.Chosen = chosen; len(chosen) == 0 {
		if err := e.unrouted(m, s, fmt.Sprintf("no route of host %s matches", e.Domain)); err != nil {
			return err
		}
	}
	for _, wider := range found[1:] {
		if _, err := e.routes(wider, s); err != nil {
			return err
		}
	}
	return nil
}

// routes finds the routes of a virtual host that take a request. It takes note of the others. If there are some already,
// those of a wider host come later.
func (e *Encounter) routes(c candidate, s *seen) (chosen []Chosen, err error) {
	if err := only("virtual host "+c.host.Name, c.host, knownHost...); err != nil {
		return nil, err
	}
	taken, wider := uint32(0), c.domain != e.Domain
	if wider {
		taken = million
	}
	for _, route := range c.host.Routes {
		where := "route " + route.Name
		if err := only(where, route, knownRoute...); err != nil {
			return nil, err
		}
		why, err := s.meets(where, route.Match)
		if err != nil {
			return nil, err
		}
		if why != "" {
			if !wider && !strings.HasPrefix(why, "path ") {
				e.Missed = append(e.Missed, Candidate{route, c.domain, why})
			}
			continue
		}
		upTo, err := fraction(where, route.Match)
		switch {
		case err != nil:
			return nil, err
		case taken == million:
			e.Later = append(e.Later, Candidate{Route: route, Domain: c.domain})
		case upTo > taken:
			chosen = append(chosen, Chosen{Route: route, Share: upTo - taken})
			taken = upTo
		}
	}
	return chosen, nil
}

// pass finds the filters of a chosen route.
func (c *Chosen) pass(where string, m *hcmv3.HttpConnectionManager, l levels, s *seen) (err error) {
	c.Filters = passed(m, l)
	c.Abort, err = aborted(where, m, l, s)
	return err
}
