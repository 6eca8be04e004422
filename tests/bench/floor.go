package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

const (
	typeRoutes = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
	typeScopes = "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration"
	floorPort  = 18080
	floorXDS   = 18099
)

// floor measures what Envoy itself needs to take one more virtual host: a control plane that only sends bytes which are
// ready.
func (b *bench) floor(ctx context.Context, scoped bool) error {
	progress("the floor, %d times", b.tries)
	ready := &readyMade{pushes: make(chan []*discovery.Resource), scoped: scoped}
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", floorXDS))
	if err != nil {
		return fmt.Errorf("listen for the floor's Envoy: %w", err)
	}
	server := grpc.NewServer()
	discovery.RegisterAggregatedDiscoveryServiceServer(server, ready)
	go func() { _ = server.Serve(listener) }() // It ends with Stop.
	defer server.Stop()
	for i := range b.inside {
		ready.hosts = append(ready.hosts, fmt.Sprintf("r%d", i))
	}
	envoy, err := b.startEnvoy(ctx, scoped)
	if err != nil {
		return err
	}
	defer func() {
		_ = envoy.Process.Kill() // It serves nobody else.
		_ = envoy.Wait()         // As above.
	}()
	address := fmt.Sprintf("127.0.0.1:%d", floorPort)
	if _, err := poll(b.http, address, fmt.Sprintf("r%d.example.com", b.inside-1), ""); err != nil {
		return fmt.Errorf("the floor's Envoy: %w", err)
	}
	var first times
	for i := range b.tries {
		name := fmt.Sprintf("one-more-%d", i)
		ready.hosts = append(ready.hosts, name)
		update := ready.resources(len(ready.hosts) - 1)
		start := time.Now()
		select {
		case ready.pushes <- update:
		case <-ctx.Done():
			return ctx.Err()
		}
		if _, err := poll(b.http, address, name+".example.com", ""); err != nil {
			return err
		}
		first = append(first, time.Since(start))
		time.Sleep(20 * time.Millisecond)
	}
	prefix := ""
	if scoped {
		prefix = "scoped: "
	}
	say(prefix+"the floor of that: ready-made bytes to the same Envoy, p50 / p90", "%s", first)
	say(prefix+"one more route: times that floor, p50", "%.2f", float64(b.oneMoreRoute.at(50))/float64(first.at(50)))
	return nil
}

// startEnvoy starts an Envoy of one worker that asks the floor's server for its routes and sends requests to the first
// backend.
func (b *bench) startEnvoy(ctx context.Context, scoped bool) (*exec.Cmd, error) {
	ads := "{ads: {}, resource_api_version: V3, initial_fetch_timeout: 0s}"
	routes := fmt.Sprintf("rds: {route_config_name: all, config_source: %s}", ads)
	if scoped {
		routes = fmt.Sprintf(`scoped_routes:
            name: all
            scope_key_builder: {fragments: [{header_value_extractor: {name: ":authority", element_separator: ":", index: 0}}]}
            rds_config_source: %s
            scoped_rds: {scoped_rds_config_source: %s}`, ads, ads)
	}
	config := fmt.Sprintf(`
node: {id: floor, cluster: floor}
dynamic_resources:
  ads_config: {api_type: DELTA_GRPC, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: xds}}]}
static_resources:
  clusters:
  - name: xds
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment: {cluster_name: xds, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}}]}]}
  - name: backend
    load_assignment: {cluster_name: backend, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: %s, port_value: %d}}}}]}]}
  listeners:
  - name: all
    address: {socket_address: {address: 127.0.0.1, port_value: %d}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: all
          %s
          http_filters: [{name: envoy.filters.http.router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]
`, floorXDS, backendAddress, b.back.web[0], floorPort, routes)
	file := filepath.Join(b.dir, "floor.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	envoy := exec.CommandContext(ctx, filepath.Join(b.root, "bin/envoy"), "-c", file, "--concurrency", "1", "--log-level",
		"error", "--base-id", strconv.Itoa(os.Getpid()))
	envoy.Stderr = os.Stderr
	if err := envoy.Start(); err != nil {
		return nil, fmt.Errorf("start the floor's Envoy: %w", err)
	}
	return envoy, nil
}

// readyMade is a delta ADS server that knows hosts, and sends what it is told to.
type readyMade struct {
	discovery.UnimplementedAggregatedDiscoveryServiceServer
	hosts   []string
	scoped  bool
	pushes  chan []*discovery.Resource
	version int
}

// DeltaAggregatedResources answers the first request for each type with everything, and then pushes.
func (r *readyMade) DeltaAggregatedResources(stream discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	requests := make(chan *discovery.DeltaDiscoveryRequest)
	go func() {
		defer close(requests)
		for {
			request, err := stream.Recv()
			if err != nil {
				return
			}
			requests <- request
		}
	}()
	answered := map[string]bool{}
	for {
		var send []*discovery.Resource
		select {
		case request, open := <-requests:
			if !open {
				return nil
			}
			if e := request.GetErrorDetail(); e != nil {
				return fmt.Errorf("the floor's Envoy refused: %s", e.GetMessage())
			}
			if answered[request.GetTypeUrl()] || request.GetTypeUrl() == typeRoutes && r.scoped {
				continue
			}
			answered[request.GetTypeUrl()] = true
			send = r.resources(0)
		case send = <-r.pushes:
		}
		if len(send) == 0 {
			continue
		}
		r.version++
		err := stream.Send(&discovery.DeltaDiscoveryResponse{
			TypeUrl: send[0].GetResource().GetTypeUrl(),
			Nonce:   strconv.Itoa(r.version), Resources: send,
		})
		if err != nil {
			return err
		}
	}
}

// resources are what tells of the hosts from an index on: one route configuration of all hosts, or a scope for each.
func (r *readyMade) resources(from int) []*discovery.Resource {
	if !r.scoped {
		return []*discovery.Resource{r.resource("all", routesOf(r.hosts...), typeRoutes)}
	}
	var scopes []*discovery.Resource
	for _, host := range r.hosts[from:] {
		scope := &routev3.ScopedRouteConfiguration{
			Name: host, RouteConfiguration: routesOf(host),
			Key: &routev3.ScopedRouteConfiguration_Key{Fragments: []*routev3.ScopedRouteConfiguration_Key_Fragment{{
				Type: &routev3.ScopedRouteConfiguration_Key_Fragment_StringKey{StringKey: host + ".example.com"},
			}}},
		}
		scopes = append(scopes, r.resource(host, scope, typeScopes))
	}
	return scopes
}

func (r *readyMade) resource(name string, m proto.Message, url string) *discovery.Resource {
	body, err := proto.Marshal(m)
	if err != nil {
		panic(err) // The names are plain ASCII.
	}
	return &discovery.Resource{
		Name: name, Version: strconv.Itoa(r.version + 1),
		Resource: &anypb.Any{TypeUrl: url, Value: body},
	}
}

// routesOf sends each host to the backend.
func routesOf(hosts ...string) *routev3.RouteConfiguration {
	config := &routev3.RouteConfiguration{Name: "all"}
	if len(hosts) == 1 {
		config.Name = hosts[0]
	}
	for _, host := range hosts {
		config.VirtualHosts = append(config.VirtualHosts, &routev3.VirtualHost{
			Name: host, Domains: []string{host + ".example.com"},
			Routes: []*routev3.Route{{
				Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
				Action: &routev3.Route_Route{Route: &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: "backend"}}},
			}},
		})
	}
	return config
}
