// Command dns plays the CoreDNS of the conformance suite, whose own image cannot be built from a Go module that the suite pins. It
// answers like CoreDNS's plugin whoami, which the suite configures: every question with the address and port that it came from. It
// forwards nothing.
package main

import (
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/miekg/dns"
)

func main() {
	address := flag.String("listen", ":53", "the address to answer on, by UDP and TCP")
	flag.String("conf", "", "CoreDNS's configuration file, which is not read")
	flag.Parse()
	ended := make(chan error)
	for _, network := range []string{"udp", "tcp"} {
		go func() { ended <- dns.ListenAndServe(*address, network, dns.HandlerFunc(answer)) }()
	}
	fmt.Fprintf(os.Stderr, "dns: serving on %s: %v\n", *address, <-ended)
	os.Exit(1)
}

// answer writes the asker's address and port into the additional section. What cannot be written is not answered: the asker asks
// again.
func answer(w dns.ResponseWriter, question *dns.Msg) {
	reply := new(dns.Msg).SetReply(question)
	reply.Authoritative = true
	if len(question.Question) > 0 {
		reply.Extra = whoami(question.Question[0].Name, w.RemoteAddr())
	}
	_ = w.WriteMsg(reply)
}

// whoami are the records that tell where a question came from: an address, and the port as SRV.
func whoami(name string, from net.Addr) []dns.RR {
	source, err := netip.ParseAddrPort(from.String())
	if err != nil {
		return nil
	}
	ip := source.Addr().Unmap()
	header := func(kind uint16) dns.RR_Header {
		return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET}
	}
	var address dns.RR = &dns.A{Hdr: header(dns.TypeA), A: ip.AsSlice()}
	if ip.Is6() {
		address = &dns.AAAA{Hdr: header(dns.TypeAAAA), AAAA: ip.AsSlice()}
	}
	service := header(dns.TypeSRV)
	service.Name = "_" + network(from) + "." + name
	return []dns.RR{address, &dns.SRV{Hdr: service, Port: source.Port(), Target: "."}}
}

// network is the name of the transport, in the form that SRV records have it.
func network(from net.Addr) string {
	if _, tcp := from.(*net.TCPAddr); tcp {
		return "tcp"
	}
	return "udp"
}
