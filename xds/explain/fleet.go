package explain

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"gatehouse/translator"
	"gatehouse/xds/view"
)

// Fleet has the resources of one fleet, decoded.
type Fleet struct {
	// Name is the Gateway's namespace/name.
	Name string
	// ports maps the ports of listeners to the ports that Envoy binds.
	ports map[int32]int32
	// listeners are in the order of their names.
	listeners []*listenerv3.Listener
	configs   map[string]*routev3.RouteConfiguration
	// scopes are the route configurations of hosts, by their keys.
	scopes map[string]*routev3.RouteConfiguration
	// endpoints counts the endpoints of clusters.
	endpoints map[string]int
}

// NewFleet decodes what a fleet gets. The requirement says which ports Envoy binds.
func NewFleet(d translator.Delta, requirement *translator.Requirement) (*Fleet, error) {
	f := &Fleet{
		Name: d.Fleet, ports: map[int32]int32{}, configs: map[string]*routev3.RouteConfiguration{},
		scopes: map[string]*routev3.RouteConfiguration{}, endpoints: map[string]int{},
	}
	if requirement != nil {
		for _, p := range requirement.Ports {
			f.ports[p.Port] = p.Target
		}
	}
	for _, r := range d.Changed {
		m, err := view.Message(r)
		if err != nil {
			return nil, fmt.Errorf("fleet %s: %w", d.Fleet, err)
		}
		switch m := m.(type) {
		case *listenerv3.Listener:
			f.listeners = append(f.listeners, m)
		case *routev3.RouteConfiguration:
			f.configs[m.Name] = m
		case *routev3.ScopedRouteConfiguration:
			f.scopes[keyOfScope(m.Key)] = m.RouteConfiguration
		case *clusterv3.Cluster:
			f.count(m.Name, m.GetLoadAssignment())
		case *endpointv3.ClusterLoadAssignment:
			f.count(m.ClusterName, m)
		}
	}
	slices.SortFunc(f.listeners, func(a, b *listenerv3.Listener) int { return strings.Compare(a.Name, b.Name) })
	return f, nil
}

// count adds the endpoints of a cluster.
func (f *Fleet) count(cluster string, assignment *endpointv3.ClusterLoadAssignment) {
	for _, locality := range assignment.GetEndpoints() {
		f.endpoints[cluster] += len(locality.LbEndpoints)
	}
}

// listener finds Envoy's listener for connections to a port, nil if there is none.
func (f *Fleet) listener(port int32) *listenerv3.Listener {
	target, ok := f.ports[port]
	if !ok {
		return nil
	}
	i := slices.IndexFunc(f.listeners, func(l *listenerv3.Listener) bool {
		at := l.GetAddress().GetSocketAddress()
		return at.GetProtocol() == corev3.SocketAddress_TCP && at.GetPortValue() == uint32(target)
	})
	if i < 0 {
		return nil
	}
	return f.listeners[i]
}

// chain finds the filter chain of a connection, nil if no chain takes it.
func chain(l *listenerv3.Listener, r *Request) (*listenerv3.FilterChain, error) {
	where := "listener " + l.Name
	if err := only(where, l, knownListener...); err != nil {
		return nil, err
	}
	named, best := []*listenerv3.FilterChain(nil), -1
	for _, c := range l.FilterChains {
		if err := only(where, c, knownChain...); err != nil {
			return nil, err
		}
		if c.FilterChainMatch != nil {
			if err := only(where, c.FilterChainMatch, knownChainMatch...); err != nil {
				return nil, err
			}
		}
		rank := nameRank(c.GetFilterChainMatch().GetServerNames(), r)
		if rank > best {
			named, best = nil, rank
		}
		if rank >= 0 && rank == best {
			named = append(named, c)
		}
	}
	c, err := bySource(where, named, r)
	if c == nil && err == nil {
		c = l.DefaultFilterChain
	}
	return c, err
}

// exactName is the rank of a server name that is named as it is. Those of wildcards are their lengths.
const exactName = 1 << 16

// nameRank says how well a list of server names fits a connection: the higher the better, and -1 if it does not fit. An
// empty list fits each connection.
func nameRank(names []string, r *Request) int {
	if len(names) == 0 {
		return 0
	}
	best, asked := -1, strings.ToLower(r.ServerName)
	for _, name := range names {
		suffix, wild := strings.CutPrefix(name, "*")
		switch {
		case !r.TLS || asked == "":
		case name == asked:
			best = exactName
		case wild && len(asked) > len(suffix) && strings.HasSuffix(asked, suffix):
			best = max(best, len(suffix))
		}
	}
	return best
}

// ErrSource is returned if the address of the client is needed and not known.
var ErrSource = errors.New("the connection depends on the address of the client: say which by --from")

// bySource chooses among chains by the address of the client.
func bySource(where string, chains []*listenerv3.FilterChain, r *Request) (*listenerv3.FilterChain, error) {
	var chosen *listenerv3.FilterChain
	best := -1
	for _, c := range chains {
		ranges := c.GetFilterChainMatch().GetSourcePrefixRanges()
		if len(ranges) > 0 && !r.Source.IsValid() {
			return nil, fmt.Errorf("%s: %w", where, ErrSource)
		}
		bits, err := longest(ranges, r.Source)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", where, err)
		}
		if bits > best {
			chosen, best = c, bits
		}
	}
	return chosen, nil
}

// longest returns the bits of the longest range that has an address, 0 for no ranges at all, and -1 if none has it.
func longest(ranges []*corev3.CidrRange, source netip.Addr) (int, error) {
	if len(ranges) == 0 {
		return 0, nil
	}
	best := -1
	for _, each := range ranges {
		prefix, err := netip.ParsePrefix(fmt.Sprintf("%s/%d", each.AddressPrefix, each.PrefixLen.GetValue()))
		if err != nil {
			return 0, err
		}
		if prefix.Contains(source) {
			best = max(best, cmp.Or(prefix.Bits(), 0))
		}
	}
	return best, nil
}
