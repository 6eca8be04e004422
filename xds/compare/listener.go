package compare

import (
	"fmt"
	"slices"
	"strings"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"

	"gatehouse/translator"
)

// listeners compares listeners and how they end TLS.
func (c *comparison) listeners() {
	for _, key := range both(c.before.listeners, c.after.listeners) {
		was, is := c.before.listeners[key], c.after.listeners[key]
		switch {
		case was == nil:
			c.listener.add(Added, key, "", form(is))
		case is == nil:
			c.listener.add(Removed, key, "", form(was))
		default:
			if from, to := form(was), form(is); from != to {
				c.listener.add(Changed, key, "", to+", before: "+from)
			}
			c.endings(key, was, is)
		}
	}
	for _, key := range both(c.before.certificates, c.after.certificates) {
		was, had := c.before.certificates[key]
		is, has := c.after.certificates[key]
		fleet, name, _ := strings.Cut(key, "|")
		if had && has && was != is {
			c.tls.add(Changed, "certificate "+name, "Gateway "+fleet, is+", before: "+was)
		}
	}
}

// form says what a listener is.
func form(l *translator.ServedListener) string {
	return fmt.Sprintf("port %d, %s, hostname %s", l.Port, l.Protocol, l.Hostname)
}

// endings compares how a listener ends TLS.
func (c *comparison) endings(key string, was, is *translator.ServedListener) {
	if !slices.Equal(was.Certificates, is.Certificates) {
		c.tls.add(Changed, "listener "+key, "", fmt.Sprintf("certificates: %s, before: %s", listed(is.Certificates),
			listed(was.Certificates)))
	}
	from, to := c.before.tls[key], c.after.tls[key]
	if from == nil || to == nil {
		return
	}
	x, y := withoutCertificates(from), withoutCertificates(to)
	if fields := changedFields("", tree(x), tree(y)); len(fields) > 0 {
		c.tls.add(Changed, "listener "+key, "", "settings: "+strings.Join(fields, ", "))
	}
}

func listed(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

func withoutCertificates(context *tlsv3.DownstreamTlsContext) *tlsv3.DownstreamTlsContext {
	out := proto.CloneOf(context)
	if out.CommonTlsContext != nil {
		out.CommonTlsContext.TlsCertificateSdsSecretConfigs = nil
	}
	return out
}
