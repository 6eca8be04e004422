package bootstrap

import (
	"math"

	overloadv3 "github.com/envoyproxy/go-control-plane/envoy/config/overload/v3"
	connectionsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	heapv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/fixed_heap/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

const heapMonitor = "envoy.resource_monitors.fixed_heap"

// MemoryLimit is the placeholder in the bootstrap for the memory that Envoy may use, in bytes. The program that starts
// Envoy replaces it; if it is not replaced, there is no effective limit.
const MemoryLimit = "18446744073709551615"

// heapShare is the part of the memory that the heap may use: the rest is for stacks, code and kernel buffers.
const heapShare = 0.8

// overloadManager limits the connections and the heap: Envoy releases memory at 95 % of the heap limit and rejects
// requests at 98 %, before the kernel kills it (Envoy's guide for edge proxies).
func overloadManager() (*overloadv3.OverloadManager, error) {
	connections, err := monitor("envoy.resource_monitors.global_downstream_max_connections",
		&connectionsv3.DownstreamConnectionsConfig{MaxActiveDownstreamConnections: maxConnections})
	if err != nil {
		return nil, err
	}
	heap, err := monitor(heapMonitor, &heapv3.FixedHeapConfig{MaxHeapSizeBytes: math.MaxUint64})
	if err != nil {
		return nil, err
	}
	return &overloadv3.OverloadManager{
		RefreshInterval:  durationpb.New(refreshInterval),
		ResourceMonitors: []*overloadv3.ResourceMonitor{connections, heap},
		Actions: []*overloadv3.OverloadAction{
			heapAction("envoy.overload_actions.shrink_heap", 0.95*heapShare),
			heapAction("envoy.overload_actions.stop_accepting_requests", 0.98*heapShare),
		},
	}, nil
}

func monitor(name string, config proto.Message) (*overloadv3.ResourceMonitor, error) {
	content, err := typed(config)
	if err != nil {
		return nil, err
	}
	return &overloadv3.ResourceMonitor{
		Name:       name,
		ConfigType: &overloadv3.ResourceMonitor_TypedConfig{TypedConfig: content},
	}, nil
}

func heapAction(name string, above float64) *overloadv3.OverloadAction {
	return &overloadv3.OverloadAction{Name: name, Triggers: []*overloadv3.Trigger{{
		Name:         heapMonitor,
		TriggerOneof: &overloadv3.Trigger_Threshold{Threshold: &overloadv3.ThresholdTrigger{Value: above}},
	}}}
}
