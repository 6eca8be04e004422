package main

import (
	"net"
	"testing"

	"github.com/miekg/dns"
)

// TestAnswersWithTheAsker: whatever is asked, the reply belongs to the question and names where it came from.
func TestAnswersWithTheAsker(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(answer)}
	go func() { _ = server.ActivateAndServe() }()
	defer func() { _ = server.Shutdown() }()
	asker, err := dns.Dial("udp", conn.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer asker.Close()
	question := new(dns.Msg).SetQuestion("foo.bar.com.", dns.TypeA)
	reply, _, err := new(dns.Client).ExchangeWithConn(question, asker)
	if err != nil || len(reply.Extra) != 2 {
		t.Fatalf("reply %v, %v; want two records in the additional section", reply, err)
	}
	address, service := reply.Extra[0].(*dns.A), reply.Extra[1].(*dns.SRV)
	from := asker.LocalAddr().(*net.UDPAddr)
	if !address.A.Equal(from.IP) || int(service.Port) != from.Port || service.Hdr.Name != "_udp.foo.bar.com." {
		t.Errorf("reply:\n%v\nwant the asker %v", reply, from)
	}
}
