package compare

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"time"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"gatehouse/policies/verdict"
	"gatehouse/translator"
	"gatehouse/xds/view"
)

// Problem is something that is wrong with an object.
type Problem struct {
	Object         verdict.Ref
	Field, Message string
}

// Side is what objects become, before or after a change.
type Side struct {
	Deltas    []translator.Delta
	Served    []translator.Served
	Listeners []translator.ServedListener
	Problems  []Problem
}

// where is a virtual host of a fleet. Routes of different listeners with one host are apart.
type where struct {
	fleet, listener, host string
}

// entry is a route of Envoy and its origin.
type entry struct {
	where
	from *translator.Served
	// rule is the rule of the route, nil for a route without origin.
	rule *translator.ServedRule
	// object and field say which match of which object it is made of.
	object, field string
	// match is its condition in one text. With the object and the place among equal ones it is the key.
	key, match string
	route      *routev3.Route
	// shadow is the entry before it that takes all of its requests, nil if there is none.
	shadow *entry
}

// model is a Side in the form in which it is compared.
type model struct {
	// hosts has the entries of virtual hosts in their order.
	hosts map[where][]*entry
	// connections are the routes that forward connections, by fleet, listener and object.
	connections map[where][]*translator.Served
	listeners   map[string]*translator.ServedListener
	// tls is how listeners end TLS, by their keys. certificates are by fleet and name.
	tls          map[string]*tlsv3.DownstreamTlsContext
	certificates map[string]string
}

// modelOf decodes what fleets get.
func modelOf(s *Side) (*model, error) {
	m := &model{
		hosts: map[where][]*entry{}, connections: map[where][]*translator.Served{},
		listeners: map[string]*translator.ServedListener{}, tls: map[string]*tlsv3.DownstreamTlsContext{},
		certificates: map[string]string{},
	}
	for i := range s.Listeners {
		if l := &s.Listeners[i]; l.Serves {
			m.listeners[l.Key] = l
		}
	}
	origins := map[string]*translator.Served{}
	for i := range s.Served {
		from := &s.Served[i]
		if from.Chain != "" {
			at := where{from.Fleet, from.Listener.Key, from.Listener.Hostname}
			m.connections[at] = append(m.connections[at], from)
		}
		for _, h := range from.Hosts {
			for _, route := range h.Routes {
				origins[originKey(from.Fleet, from.Config, h.Host, route.Name)] = from
			}
		}
	}
	for _, d := range s.Deltas {
		for _, r := range d.Changed {
			if err := m.add(d.Fleet, r, origins); err != nil {
				return nil, fmt.Errorf("fleet %s: %w", d.Fleet, err)
			}
		}
	}
	for _, entries := range m.hosts {
		shadow(entries)
	}
	return m, nil
}

func originKey(fleet, config, host, name string) string {
	return strings.Join([]string{fleet, config, host, name}, "|")
}

func (m *model) add(fleet string, r *translator.Resource, origins map[string]*translator.Served) error {
	message, err := view.Message(r)
	if err != nil {
		return err
	}
	switch message := message.(type) {
	case *routev3.RouteConfiguration:
		m.config(fleet, message.Name, message, origins)
	case *routev3.ScopedRouteConfiguration:
		config, _, _ := cutLast(message.Name, "/")
		m.config(fleet, config, message.RouteConfiguration, origins)
	case *listenerv3.Listener:
		for _, chain := range message.FilterChains {
			context := &tlsv3.DownstreamTlsContext{}
			if chain.GetTransportSocket().GetTypedConfig().UnmarshalTo(context) == nil {
				m.tls[chain.Name] = context
			}
		}
	case *tlsv3.Secret:
		m.certificates[fleet+"|"+message.Name] = describe(message)
	}
	return nil
}

// cutLast cuts a text at the last separator.
func cutLast(text, separator string) (before, after string, found bool) {
	at := strings.LastIndex(text, separator)
	if at < 0 {
		return text, "", false
	}
	return text[:at], text[at+len(separator):], true
}

// config takes the routes of a route configuration that come from objects.
func (m *model) config(fleet, name string, c *routev3.RouteConfiguration, origins map[string]*translator.Served) {
	for _, v := range c.VirtualHosts {
		for _, domain := range v.Domains {
			seen := map[string]int{}
			for _, route := range v.Routes {
				from := origins[originKey(fleet, name, domain, route.Name)]
				if from == nil {
					continue // It belongs to no object, such as the answer 421.
				}
				e := &entry{where: where{fleet, from.Listener.Key, domain}, from: from, route: route, object: from.Route.String()}
				e.locate()
				e.match = matchText(route.Match)
				key := e.object + "|" + e.match + strings.Join(suffix(route.Name), "/")
				seen[key]++
				e.key = fmt.Sprintf("%s|%d", key, seen[key])
				m.hosts[e.where] = append(m.hosts[e.where], e)
			}
		}
	}
}

// suffix is what follows the host in the name of a route, such as cors-preflight.
func suffix(name string) []string {
	parts := strings.Split(name, "/")
	return parts[min(len(parts), 8):]
}

// locate finds the match of the object from which the route comes.
func (e *entry) locate() {
	for _, h := range e.from.Hosts {
		at := slices.IndexFunc(h.Routes, func(r translator.ServedMatch) bool { return r.Name == e.route.Name })
		if h.Host != e.host || at < 0 {
			continue
		}
		match := h.Routes[at]
		e.rule, e.field = &e.from.Rules[match.Rule], fmt.Sprintf("spec.rules[%d]", match.Rule)
		if match.Match >= 0 {
			e.field += fmt.Sprintf(".matches[%d]", match.Match)
		}
	}
}

// describe says whose certificate or authority a secret has. It is different for different ones.
func describe(s *tlsv3.Secret) string {
	text := s.GetTlsCertificate().GetCertificateChain().GetInlineBytes()
	if inline := s.GetTlsCertificate().GetCertificateChain().GetInlineString(); inline != "" {
		text = []byte(inline)
	}
	if text == nil {
		text = s.GetValidationContext().GetTrustedCa().GetInlineBytes()
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return "unknown"
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return "unreadable"
	}
	names := strings.Join(c.DNSNames, ", ")
	if names == "" {
		names = c.Subject.String()
	}
	return fmt.Sprintf("%s until %s, serial number %x", names, c.NotAfter.UTC().Format(time.DateOnly), c.SerialNumber)
}
