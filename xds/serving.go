package xds

import (
	"crypto/tls"
	"errors"
	"net"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
)

// requestLimit is the largest request that is accepted, in bytes: a proxy that reconnects names all that it has.
const requestLimit = 64 << 20

// The limits of a connection, see also strangerSize.
const (
	// callsPerConnection is how many open calls a connection may have. An Envoy has one.
	callsPerConnection = 1
	// callWindow is how many bytes of a call may arrive before it is read, connectionWindow how many bytes may be in
	// flight. While a request is read, the window of a call is as large as the request.
	callWindow, connectionWindow = 64 << 10, 1 << 20
	// headersLimit is the maximum size of a call's headers in bytes; a token has one or two thousand.
	headersLimit = 32 << 10
	// handshakeLimit is the time limit for the TLS handshake.
	handshakeLimit = 10 * time.Second
	// idleLimit is how long a connection may stay without a call.
	idleLimit = 5 * time.Minute
)

// Endpoint is a gRPC server that serves only a Server.
type Endpoint struct {
	*grpc.Server
	peers *peers
}

// Serve accepts connections until the endpoint is stopped, like Serve of grpc.Server.
func (e *Endpoint) Serve(l net.Listener) error { return e.Server.Serve(&listener{l, e.peers}) }

// Serve returns an endpoint that serves s over TLS. It calls certificate at each handshake, so that a renewed
// certificate is used from the next connection on. Every call of every method is authenticated. Connections to peers
// that do not answer for 30 s are closed.
func (s *Server) Serve(certificate func() *tls.Certificate) *Endpoint {
	config := &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			if c := certificate(); c != nil {
				return c, nil
			}
			return nil, errors.New("the xDS server has no serving certificate yet")
		},
	}
	s.asksForCertificates(config)
	return s.serve(grpc.Creds(credentials.NewTLS(config)))
}

// serve returns an endpoint with the options that do not depend on the transport.
func (s *Server) serve(options ...grpc.ServerOption) *Endpoint {
	g := grpc.NewServer(append(options,
		grpc.MaxRecvMsgSize(requestLimit),
		grpc.MaxConcurrentStreams(callsPerConnection),
		grpc.StaticStreamWindowSize(callWindow),
		grpc.StaticConnWindowSize(connectionWindow),
		grpc.ForceServerCodecV2(newCodec()),
		grpc.MaxHeaderListSize(headersLimit),
		grpc.ConnectionTimeout(handshakeLimit),
		grpc.UnaryInterceptor(s.unary),
		grpc.StreamInterceptor(s.streaming),
		grpc.UnknownServiceHandler(unserved),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time: 20 * time.Second, Timeout: 10 * time.Second,
			MaxConnectionIdle: idleLimit,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	)...)
	discovery.RegisterAggregatedDiscoveryServiceServer(g, s)
	return &Endpoint{g, s.peers}
}
