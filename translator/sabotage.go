//go:build !gatehousedebug

package translator

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
)

// In a release nothing can be broken on purpose. Builds with the tag gatehousedebug can break objects, to test what
// happens then.

func breakRoute(Object, *routev3.Route)              {}
func breakFilters(Object, *routev3.Route)            {}
func breakCluster(Object, *clusterv3.Cluster)        {}
func breakChain(Object, *listenerv3.FilterChain)     {}
func breakCertificate(Object, *tlsv3.TlsCertificate) {}
