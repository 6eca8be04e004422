// Package endpoints judges the endpoints of Backends.
//
// A user who can write Backends can make Envoy call their endpoints. So endpoints on Envoy's own host or on its local
// network link are rejected, as Kubernetes rejects such addresses in EndpointSlices.
package endpoints

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// consequence is what happens to a Backend with a problem.
const consequence = "nothing is sent to the Backend"

// maxZone is the maximum length of the name of a zone, in bytes: that of a DNS name.
const maxZone = 253

// Check finds problems of a Backend. Nothing is sent to a Backend with a problem.
func Check(b *v1alpha1.Backend) []verdict.Problem {
	problems := feature.Unread(b.Spec.Unread, consequence)
	switch {
	case ByRequest(b):
		if len(b.Spec.Endpoints) > 0 {
			problems = append(problems, feature.Invalid("spec.endpoints",
				"type DynamicResolver takes the endpoint from each request: remove endpoints, or write type Endpoints"))
		}
	case b.Spec.Type != nil && *b.Spec.Type != v1alpha1.BackendTypeEndpoints:
		problems = append(problems, feature.Invalid("spec.type",
			"type %q is not known, so %s: write Endpoints or DynamicResolver", *b.Spec.Type, consequence))
	case len(b.Spec.Endpoints) == 0:
		problems = append(problems, feature.Invalid("spec.endpoints",
			"there is no endpoint, so %s: list at least one", consequence))
	}
	other := func(p v1alpha1.AppProtocol) bool { return p != v1alpha1.AppProtocolH2C }
	if slices.Contains(b.Spec.AppProtocols, v1alpha1.AppProtocolH2C) && slices.ContainsFunc(b.Spec.AppProtocols, other) {
		problems = append(problems, feature.Invalid("spec.appProtocols",
			"HTTP/2 and WebSockets over HTTP/1.1 do not go together, so %s: write one of them, or make a Backend for each",
			consequence))
	}
	for i := range b.Spec.Endpoints {
		problems = append(problems, checkEndpoint(fmt.Sprintf("spec.endpoints[%d]", i), b, &b.Spec.Endpoints[i])...)
	}
	return problems
}

// Reasons of condition FieldsEffective of a Backend.
const (
	reasonOfClients  = "OnlyForClients"
	reasonOfRequests = "NotForDynamicResolver"
)

// WithoutEffect finds fields of a Backend that have no effect. The rest of the Backend takes effect.
func WithoutEffect(b *v1alpha1.Backend) (problems []verdict.Problem) {
	if b.Spec.TLS != nil && len(b.Spec.TLS.Fingerprints) > 0 {
		problems = append(problems, feature.WithoutEffect("spec.tls.fingerprints", reasonOfClients,
			"fingerprints are those of clients, and to endpoints Envoy is the client, so this has no effect: remove it, or write "+
				"it in a ClientTrafficPolicy"))
	}
	if b.Spec.Fallback != nil && *b.Spec.Fallback && ByRequest(b) {
		problems = append(problems, feature.WithoutEffect("spec.fallback", reasonOfRequests,
			"a Backend of type DynamicResolver is the only one of its rule, so this has no effect: remove it"))
	}
	return problems
}

// ByRequest reports whether the endpoint of a Backend is the host of each request.
func ByRequest(b *v1alpha1.Backend) bool {
	return b.Spec.Type != nil && *b.Spec.Type == v1alpha1.BackendTypeDynamicResolver
}

func checkEndpoint(field string, b *v1alpha1.Backend, e *v1alpha1.BackendEndpoint) (problems []verdict.Problem) {
	tell := func(below, words string, args ...any) {
		if words != "" {
			problems = append(problems, feature.Invalid(field+below, words, args...))
		}
	}
	if e.Hostname != nil {
		tell(".hostname", unlikeName(*e.Hostname), *e.Hostname)
	}
	if e.Zone != nil && len(*e.Zone) > maxZone {
		tell(".zone", "a name of %d bytes is too long for a zone: write one of %d or less", len(*e.Zone), maxZone)
	}
	switch {
	case e.Unix != nil:
		tell(".unix", "socket %q is in the pods of Envoy, and nothing is sent to sockets there: write fqdn or ip",
			e.Unix.Path)
	case e.FQDN != nil && e.IP != nil:
		tell("", "an endpoint is a name or an address: remove fqdn or ip")
	case e.FQDN != nil:
		words := unlikeName(e.FQDN.Hostname)
		if IsOwnHost(e.FQDN.Hostname) {
			words = "%q is Envoy's own host, to which nothing is sent: name another host"
		}
		tell(".fqdn.hostname", words, e.FQDN.Hostname)
		tell(".fqdn.port", unlikePort(e.FQDN.Port), e.FQDN.Port)
	case e.IP != nil:
		tell(".ip.address", unreachable(e.IP.Address), e.IP.Address)
		tell(".ip.port", unlikePort(e.IP.Port), e.IP.Port)
	case len(b.Spec.Unread) == 0: // Otherwise the endpoint may be of a type that is not served, which is reported already.
		tell("", "the endpoint is neither a name nor an address: write fqdn or ip")
	}
	if e.Unix == nil && (e.FQDN == nil) != (b.Spec.Endpoints[0].FQDN == nil) {
		tell("", "names and addresses do not go together: write fqdn for each of the endpoints, or for none")
	}
	return problems
}

// The following functions return what is wrong with a value, as a format for fmt, or an empty text.

func unlikePort(port int32) string {
	if port > 0 && port <= 65535 {
		return ""
	}
	return "%d is not a port that can be sent to: write a number from 1 to 65535"
}

// unlikeName rejects names with one part, because it depends on the resolver which host such a name means.
func unlikeName(name string) string {
	host := Name(name)
	switch {
	case IsAddress(host):
		return "%q is read as an address and is not a DNS name: " +
			"write an address as ip.address, or a name such as api.example.com"
	case len(validation.IsDNS1123Subdomain(host)) > 0:
		return "%q is not a DNS name: write one such as api.example.com"
	case !strings.Contains(host, "."):
		return "%q is a part of a DNS name: write the whole name, such as api.example.com"
	}
	return ""
}

func unreachable(text string) string {
	address, err := Address(text)
	switch {
	case err != nil:
		return "%q is not an IP address: write one such as 10.0.0.1 or 2001:db8::1, or a name as fqdn"
	case address.IsLoopback() || address.IsUnspecified() || thisNetwork.Contains(address):
		return "%q leads to Envoy's own host, to which nothing is sent: write the address of another host"
	case address.IsLinkLocalUnicast():
		return "%q is on the link of Envoy's host, where clouds have the credentials of machines, " +
			"and nothing is sent there: write an address that is routed"
	case slices.ContainsFunc(Credentials, func(r netip.Prefix) bool { return r.Contains(address) }):
		return "%q is where a cloud has the credentials of machines, and nothing is sent there: write the address of another host"
	case address.IsMulticast() || address == broadcast:
		return "%q is the address of several hosts: write that of one"
	}
	return ""
}

// Unreachable are the ranges of addresses that unreachable rejects, and all IPv4 addresses that are written as IPv6 ones,
// because they would have to be rejected a second time in this form.
func Unreachable() []netip.Prefix {
	texts := []string{
		"0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32",
		"::/127", "::ffff:0.0.0.0/96", "fe80::/10", "ff00::/8",
	}
	ranges := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		ranges[i] = netip.MustParsePrefix(text)
	}
	return append(ranges, Credentials...)
}

// Credentials are the addresses outside of the local link at which clouds document services with the credentials of
// machines and pods.
var Credentials = []netip.Prefix{
	netip.MustParsePrefix("100.100.100.200/32"),     // Alibaba Cloud: instance metadata
	netip.MustParsePrefix("168.63.129.16/32"),       // Azure: WireServer, which configures machines
	netip.MustParsePrefix("fd00:ec2::/32"),          // AWS: instance metadata (::254), EKS Pod Identity (::23), DNS, time
	netip.MustParsePrefix("fd20:ce::254/128"),       // Google Cloud: metadata server of IPv6-only instances
	netip.MustParsePrefix("fd00:c1::a9fe:a9fe/128"), // Oracle Cloud Infrastructure: instance metadata
	netip.MustParsePrefix("fd00:42::42/128"),        // Scaleway: instance metadata
	netip.MustParsePrefix("fd00:a9fe:a9fe::1/128"),  // Akamai: metadata service
}

// thisNetwork are the addresses that mean the own network (RFC 6890).
var thisNetwork = netip.MustParsePrefix("0.0.0.0/8")

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// Address parses an IP address without a zone. It converts an IPv4-mapped IPv6 address to the IPv4 address.
func Address(text string) (netip.Addr, error) {
	address, err := netip.ParseAddr(text)
	if err != nil || address.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("reading address %q: it has to be an IP address without a zone", text)
	}
	return address.Unmap(), nil
}

// Name is a DNS name in lower case and without the dot at its end.
func Name(host string) string {
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// numeric matches hosts that end in a number (https://url.spec.whatwg.org/#ends-in-a-number-checker). They are never
// DNS names. The API server accepts them as names, but Envoy's resolver reads 127.0.0.01 as its own host.
var numeric = regexp.MustCompile(`(^|\.)([0-9]+|0x[0-9a-f]*)$`)

// IsAddress reports whether a resolver may read a name as an address. This includes the empty name.
func IsAddress(host string) bool {
	host = Name(host)
	_, err := netip.ParseAddr(host)
	return err == nil || host == "" || numeric.MatchString(host)
}

// IsOwnHost reports whether a name always means the resolving host itself (RFC 6761, section 6.3).
func IsOwnHost(host string) bool {
	host = Name(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}
