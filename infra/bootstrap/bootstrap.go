// Package bootstrap makes the start configuration of an Envoy: where it gets its configuration, how it authenticates,
// and its two listeners for metrics and readiness. Everything else comes by xDS.
package bootstrap

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	"gatehouse/policies/envoyproxy"
	"gatehouse/policies/regex"
)

// The ports of every Envoy in addition to those of its Gateway. AdminPort is bound on 127.0.0.1 only.
const (
	AdminPort   = 19000
	MetricsPort = 19001
	ReadyPort   = 19003
)

// The paths that Envoy serves on these ports.
const (
	// MetricsPath has the statistics in the Prometheus format, on MetricsPort.
	MetricsPath = "/stats/prometheus"
	// ReadyPath answers 200 while Envoy has its configuration and is not draining, otherwise 503, on ReadyPort.
	ReadyPath = "/ready"
	// LivePath answers 200 as long as a worker responds, on ReadyPort.
	LivePath = "/live"
)

// XDSCluster is the name of the cluster for the control plane.
const XDSCluster = "xds_cluster"

// adminCluster is the cluster for Envoy's own admin interface.
const adminCluster = "prometheus_stats"

// maxConnections limits the downstream connections of one Envoy, before file descriptors run out.
const maxConnections = 50000

// Envoy reconnects to a lost control plane after about firstReconnect, then with growing delays. With Envoy's own limit
// of 30 s a proxy would serve an old configuration for half a minute after the control plane is back.
const (
	firstReconnect = 500 * time.Millisecond
	lastReconnect  = 5 * time.Second
)

// Settings are the differences between fleets.
type Settings struct {
	// XDSHost is the name of the control plane's Service. Its certificate must contain it.
	XDSHost string
	// XDSPort is the port of the control plane's xDS server.
	XDSPort uint32
	// ConfigDir is where the files of Files are mounted.
	ConfigDir string
	// TokenFile is the file with the service-account token that is sent with each xDS stream. It may be replaced while
	// Envoy runs, by a rename in its directory, as kubelet does.
	TokenFile string
	// IPv6 makes Envoy's own listeners use IPv6 in addition to IPv4, because probes may use either.
	IPv6 bool
}

// JSON returns the bootstrap for --config-yaml: equal settings give equal bytes.
func JSON(s Settings) (string, error) {
	b, err := config(s)
	if err != nil {
		return "", fmt.Errorf("making Envoy's bootstrap: %w", err)
	}
	return stableJSON(b)
}

func config(s Settings) (*bootstrapv3.Bootstrap, error) {
	xds, err := xdsCluster(s)
	if err != nil {
		return nil, err
	}
	metrics, err := ownListener("metrics", s.everywhere(MetricsPort), adminRoute(MetricsPath))
	if err != nil {
		return nil, err
	}
	ready, err := ownListener("ready", s.everywhere(ReadyPort), adminRoute(ReadyPath), directRoute(LivePath))
	if err != nil {
		return nil, err
	}
	overload, err := overloadManager()
	if err != nil {
		return nil, err
	}
	runtime, err := runtimeLayer()
	if err != nil {
		return nil, err
	}
	return &bootstrapv3.Bootstrap{
		Admin: &bootstrapv3.Admin{Address: address("127.0.0.1", AdminPort), IgnoreGlobalConnLimit: true},
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{
			Listeners: []*listenerv3.Listener{metrics, ready},
			Clusters:  []*clusterv3.Cluster{xds, adminUpstream(), fleetCluster()},
		},
		ClusterManager:   &bootstrapv3.ClusterManager{LocalClusterName: envoyproxy.FleetCluster},
		DynamicResources: dynamicResources(),
		OverloadManager:  overload,
		LayeredRuntime: &bootstrapv3.LayeredRuntime{Layers: []*bootstrapv3.RuntimeLayer{{
			Name:           "gatehouse",
			LayerSpecifier: &bootstrapv3.RuntimeLayer_StaticLayer{StaticLayer: runtime},
		}}},
		DeferredStatOptions: &bootstrapv3.Bootstrap_DeferredStatOptions{EnableDeferredCreationStats: true},
	}, nil
}

// dynamicResources requests listeners and clusters by one delta stream. There is no time limit for the first response:
// an Envoy without its configuration is never ready, instead of ready and empty.
func dynamicResources() *bootstrapv3.Bootstrap_DynamicResources {
	ads := &corev3.ConfigSource{
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
		ResourceApiVersion:    corev3.ApiVersion_V3,
		InitialFetchTimeout:   durationpb.New(0),
	}
	return &bootstrapv3.Bootstrap_DynamicResources{
		LdsConfig: ads,
		CdsConfig: ads,
		AdsConfig: &corev3.ApiConfigSource{
			ApiType:                   corev3.ApiConfigSource_DELTA_GRPC,
			TransportApiVersion:       corev3.ApiVersion_V3,
			SetNodeOnFirstMessageOnly: true,
			GrpcServices: []*corev3.GrpcService{{
				TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{
					ClusterName: XDSCluster,
					RetryPolicy: &corev3.RetryPolicy{RetryBackOff: &corev3.BackoffStrategy{
						BaseInterval: durationpb.New(firstReconnect),
						MaxInterval:  durationpb.New(lastReconnect),
					}},
				}},
			}},
		},
	}
}

// fleetTimeout is how long the start waits for the zones of the fleet. A control plane that is older than Envoy does not
// know them.
const fleetTimeout = 5 * time.Second

// fleetCluster is the cluster of the Envoys of the fleet, which the control plane tells. Nothing is sent to it.
func fleetCluster() *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name:                 envoyproxy.FleetCluster,
		ConnectTimeout:       durationpb.New(connectTimeout),
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig: &clusterv3.Cluster_EdsClusterConfig{EdsConfig: &corev3.ConfigSource{
			ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
			ResourceApiVersion:    corev3.ApiVersion_V3,
			InitialFetchTimeout:   durationpb.New(fleetTimeout),
		}},
	}
}

// descriptors has Envoy read command operators in the values of rate limit descriptors, for policies/ratelimit.
const descriptors = "envoy.reloadable_features.enable_formatter_for_ratelimit_action_descriptor_value"

// runtimeLayer makes Envoy reject the same regular expressions as the control plane. Envoy's default limit of 100
// instructions is too low for many expressions in use, and the control plane reports the reason in status. It also turns
// on what features of policies need.
func runtimeLayer() (*structpb.Struct, error) {
	layer, err := structpb.NewStruct(map[string]any{
		"re2.max_program_size.error_level": float64(regex.MaxProgram),
		"re2.max_program_size.warn_level":  float64(1000),
		descriptors:                        true,
	})
	if err != nil {
		return nil, fmt.Errorf("making the runtime layer: %w", err)
	}
	return layer, nil
}

// everywhere is a port on all addresses of the pod.
func (s Settings) everywhere(port uint32) *corev3.Address {
	if !s.IPv6 {
		return address("0.0.0.0", port)
	}
	both := address("::", port)
	both.GetSocketAddress().Ipv4Compat = true
	return both
}

func address(host string, port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address:       host,
		PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}}
}

func typed(m proto.Message) (*anypb.Any, error) {
	a, err := anypb.New(m)
	if err != nil {
		return nil, fmt.Errorf("encoding %s: %w", m.ProtoReflect().Descriptor().FullName(), err)
	}
	return a, nil
}

// stableJSON removes the random spaces of protojson, which would make every build restart every Envoy.
func stableJSON(m proto.Message) (string, error) {
	raw, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return "", fmt.Errorf("writing %s as JSON: %w", m.ProtoReflect().Descriptor().FullName(), err)
	}
	var out bytes.Buffer
	if err := json.Compact(&out, raw); err != nil {
		return "", fmt.Errorf("writing %s as JSON: %w", m.ProtoReflect().Descriptor().FullName(), err)
	}
	return out.String(), nil
}
