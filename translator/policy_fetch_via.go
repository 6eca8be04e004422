package translator

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"

	"gatehouse/policies/backendtls"
	"gatehouse/policies/endpoints"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
)

// Fetch is content that policies need and that must be fetched.
type Fetch struct {
	feature.Fetch
	// Via are the backends that are asked for the URL. It is nil for the host of the URL.
	Via *Via
	// Namespaces are those of the policies that need the content, sorted.
	Namespaces []string
}

// Key identifies what is fetched, how, and from whom. It consists of 32 hexadecimal digits, and is the same in every
// replica.
func (f *Fetch) Key() string {
	if f.Via == nil {
		return f.Fetch.Key()
	}
	return fetchKey(&f.Fetch, f.Via.Source)
}

func fetchKey(f *feature.Fetch, source string) string {
	sum := sha256.Sum256([]byte(f.Key() + " " + source))
	return hex.EncodeToString(sum[:16])
}

// Via are the backends of a need that content is fetched from.
type Via struct {
	// Source is who refers to what, whether it can be used or not: other kinds and namespaces may have other grants.
	Source   string
	Backends []ViaBackend
}

// ViaBackend is a backend that content is fetched from.
type ViaBackend struct {
	// Endpoints are the addresses or DNS names of its endpoints, with their ports. Listed reports whether an object
	// lists them; otherwise EndpointSlices have them.
	Endpoints []string
	Listed    bool
	// Fallback reports whether it is asked only if no other backend answers.
	Fallback bool
	// TLS is how connections are secured, by the backend's BackendTLSPolicy or by the Backend. If it is nil, the scheme of
	// the URL decides.
	TLS *ViaTLS
}

// ViaTLS is how TLS to a backend is verified.
type ViaTLS struct {
	// Authorities are the CA certificates in PEM. It is empty for those of the system.
	Authorities []byte
	Verified    backendtls.Names
	// Unverified reports whether the certificate is not verified.
	Unverified bool
}

func (v *Via) equal(o *Via) bool {
	if v == nil || o == nil {
		return v == o
	}
	return v.Source == o.Source && slices.EqualFunc(v.Backends, o.Backends, func(a, b ViaBackend) bool {
		return a.Listed == b.Listed && a.Fallback == b.Fallback && slices.Equal(a.Endpoints, b.Endpoints) &&
			a.TLS.equal(b.TLS)
	})
}

func (t *ViaTLS) equal(o *ViaTLS) bool {
	if t == nil || o == nil {
		return t == o
	}
	return bytes.Equal(t.Authorities, o.Authorities) && t.Verified.Equal(o.Verified) && t.Unverified == o.Unverified
}

// sourceOf is the Source of a need of a policy.
func sourceOf(from verdict.Ref, need *feature.Backend) string {
	all := []string{from.Kind + " " + from.Namespace + ":"}
	for _, ref := range need.Refs {
		one := string(cmp.Or(deref(ref.Kind), "Service")) + "/" + cmp.Or(string(deref(ref.Namespace)), from.Namespace) + "/" +
			string(ref.Name)
		if group := deref(ref.Group); group != "" {
			one = string(group) + "/" + one
		}
		all = append(all, fmt.Sprintf("%s/%d", one, deref(ref.Port)))
	}
	return strings.Join(all, " ")
}

// via is how content is fetched from backends. An EndpointSlice event touches only the row that calls it.
func (t *Tables) via(r *flow.Read, through *neededCluster) *Via {
	if through == nil {
		return nil
	}
	via := &Via{Source: through.Source}
	for _, b := range through.Backends {
		v := ViaBackend{Listed: b.To.Discovery != bySlices, Fallback: b.Fallback}
		balanced := b.listed(false)[""]
		if !v.Listed {
			balanced = loadBalanced(t.slicesByOwner.Lookup(r, b.To.key()), b.Port, false)[""]
		}
		for _, e := range balanced {
			v.Endpoints = append(v.Endpoints, hostPort(e.GetEndpoint().Address))
			for _, other := range e.GetEndpoint().AdditionalAddresses {
				v.Endpoints = append(v.Endpoints, hostPort(other.Address))
			}
		}
		if b.TLS != nil {
			v.TLS = &ViaTLS{Authorities: b.TLS.authorities(), Verified: b.names(), Unverified: b.TLS.Unverified()}
		}
		via.Backends = append(via.Backends, v)
	}
	return via
}

func hostPort(a *corev3.Address) string {
	socket := a.GetSocketAddress()
	return net.JoinHostPort(socket.Address, strconv.FormatUint(uint64(socket.GetPortValue()), 10))
}

// names are those by which the backend is asked and verified. If its endpoints have names of their own, one of these.
func (b backend) names() backendtls.Names {
	names := b.TLS.Names()
	if !b.TLS.OfEndpoints() {
		return names
	}
	for _, e := range b.To.Endpoints {
		names.Hosts = append(names.Hosts, cmp.Or(e.Hostname, endpoints.Name(e.Host)))
	}
	names.SNI = names.Hosts[0]
	return names
}

// authorities are the CA certificates in PEM, nil for those of the system.
func (p *tlsUse) authorities() []byte {
	if p.Trust == nil {
		return nil
	}
	secret := &tlsv3.Secret{}
	if err := proto.Unmarshal(p.Trust.Body(), secret); err != nil {
		panic(err) // The translation has encoded it.
	}
	return secret.GetValidationContext().GetTrustedCa().GetInlineBytes()
}
