// Package dns answers for the names of Services and pods, as the Kubernetes DNS specification has them
// (https://github.com/kubernetes/dns/blob/master/docs/specification.md), and for nothing else: the cluster has no way
// out, so that every other name does not exist.
package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// Server is a name server for a cluster.
type Server struct {
	domain   string // without a final dot
	services cache.Indexer
	slices   cache.Indexer
}

// ttl is how long answers may be kept, in seconds: as long as the rules for clients of a real cluster.
const ttl = 5

// New returns a server of a cluster domain such as cluster.local, which answers from the caches of the informers. Their
// EndpointSlices must have the index service.ByService.
func New(domain string, f informers.SharedInformerFactory) (*Server, error) {
	if _, ok := dns.IsDomainName(domain); !ok || domain == "" {
		return nil, fmt.Errorf("cluster domain %q is not a domain name", domain)
	}
	return &Server{
		domain:   domain,
		services: f.Core().V1().Services().Informer().GetIndexer(),
		slices:   f.Discovery().V1().EndpointSlices().Informer().GetIndexer(),
	}, nil
}

// Run serves UDP and TCP on the address until ctx ends.
func (s *Server) Run(ctx context.Context, addr netip.AddrPort) error {
	packets, err := (&net.ListenConfig{}).ListenPacket(ctx, "udp4", addr.String())
	if err != nil {
		return fmt.Errorf("listen for DNS: %w", err)
	}
	streams, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", addr.String())
	if err != nil {
		return errors.Join(fmt.Errorf("listen for DNS: %w", err), packets.Close())
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, server := range []*dns.Server{{PacketConn: packets, Handler: s}, {Listener: streams, Handler: s}} {
		group.Go(func() error {
			stop := context.AfterFunc(ctx, func() { _ = server.Shutdown() }) // It fails if it never ran.
			defer stop()
			if err := server.ActivateAndServe(); err != nil && ctx.Err() == nil {
				return fmt.Errorf("serve DNS: %w", err)
			}
			return nil
		})
	}
	return group.Wait()
}

// ServeDNS answers one query.
func (s *Server) ServeDNS(w dns.ResponseWriter, query *dns.Msg) {
	answer := s.answer(query)
	if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
		size := dns.MinMsgSize
		if option := query.IsEdns0(); option != nil {
			size = int(option.UDPSize())
		}
		answer.Truncate(size)
	}
	_ = w.WriteMsg(answer) // A client that has gone needs no answer.
}

func (s *Server) answer(query *dns.Msg) *dns.Msg {
	answer := new(dns.Msg)
	answer.SetReply(query)
	answer.Authoritative, answer.RecursionAvailable = true, true
	if len(query.Question) != 1 || query.Question[0].Qclass != dns.ClassINET {
		answer.Rcode = dns.RcodeNotImplemented
		return answer
	}
	if option := query.IsEdns0(); option != nil {
		answer.SetEdns0(option.UDPSize(), false)
	}
	q := query.Question[0]
	records, exists := s.lookup(dns.CanonicalName(q.Name), q.Name)
	if !exists {
		answer.Rcode = dns.RcodeNameError
		return answer
	}
	for _, r := range records.answers {
		if r.Header().Rrtype == q.Qtype || r.Header().Rrtype == dns.TypeCNAME || q.Qtype == dns.TypeANY {
			answer.Answer = append(answer.Answer, r)
		}
	}
	if q.Qtype == dns.TypeSRV {
		answer.Extra = append(answer.Extra, records.extra...)
	}
	return answer
}
