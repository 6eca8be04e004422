package bootstrap

import (
	overloadv3 "github.com/envoyproxy/go-control-plane/envoy/config/overload/v3"
	connectionsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	heapv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/fixed_heap/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

const heapMonitor = "envoy.resource_monitors.fixed_heap"

// heapShare of the container's memory limit is what the heap may grow to: the rest is for stacks, code and buffers of the kernel.
const heapShare = 0.8

// overloadManager bounds the connections, and the heap if the container's memory is limited: Envoy gives memory back at 95 % of
// the heap's bound and refuses requests at 98 %, before the kernel kills it.
func overloadManager(memoryLimit int64) (*overloadv3.OverloadManager, error) {
	connections, err := monitor("envoy.resource_monitors.global_downstream_max_connections",
		&connectionsv3.DownstreamConnectionsConfig{MaxActiveDownstreamConnections: maxConnections})
	if err != nil {
		return nil, err
	}
	m := &overloadv3.OverloadManager{ResourceMonitors: []*overloadv3.ResourceMonitor{connections}}
	if memoryLimit <= 0 {
		return m, nil
	}
	heap, err := monitor(heapMonitor, &heapv3.FixedHeapConfig{MaxHeapSizeBytes: uint64(float64(memoryLimit) * heapShare)})
	if err != nil {
		return nil, err
	}
	m.RefreshInterval = durationpb.New(refreshInterval)
	m.ResourceMonitors = append(m.ResourceMonitors, heap)
	m.Actions = []*overloadv3.OverloadAction{
		heapAction("envoy.overload_actions.shrink_heap", 0.95),
		heapAction("envoy.overload_actions.stop_accepting_requests", 0.98),
	}
	return m, nil
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
