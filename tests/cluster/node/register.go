package node

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"gatehouse/tests/cluster/node/field"
)

const (
	leasePeriod  = 10 * time.Second
	statusPeriod = time.Minute
)

// register creates the Node and makes it ready. It waits for the API server.
func (a *agent) register(ctx context.Context) error {
	var pods []string
	for _, f := range a.Families {
		pods = append(pods, f.Pods.String())
	}
	object := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: Name, Labels: map[string]string{
			corev1.LabelHostname: Name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: runtime.GOARCH,
		}},
		Spec: corev1.NodeSpec{PodCIDR: pods[0], PodCIDRs: pods},
	}
	for {
		_, err := a.client.CoreV1().Nodes().Create(ctx, object, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			err = nil
		}
		if err == nil {
			err = a.writeNodeStatus(ctx)
		}
		if err == nil {
			err = a.removeTaints(ctx)
		}
		if err == nil {
			return nil
		}
		a.Log.Debug("Registering the node failed and is tried again", "error", err)
		select {
		case <-ctx.Done():
			return fmt.Errorf("register node: %w", err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// removeTaints lets daemon sets use the node: the API server creates every node as not ready, and leaves it to a
// controller that this cluster does not run to say otherwise.
func (a *agent) removeTaints(ctx context.Context) error {
	_, err := a.client.CoreV1().Nodes().Patch(ctx, Name, types.MergePatchType, []byte(`{"spec":{"taints":null}}`),
		metav1.PatchOptions{})
	return err
}

// heartbeat renews the node's lease and status until ctx ends.
func (a *agent) heartbeat(ctx context.Context) error {
	lease, status := time.NewTicker(leasePeriod), time.NewTicker(statusPeriod)
	defer lease.Stop()
	defer status.Stop()
	for {
		if err := a.renewLease(ctx); err != nil && ctx.Err() == nil {
			a.Log.Warn("Renewing the node's lease failed and is tried again", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-lease.C:
		case <-status.C:
			if err := a.writeNodeStatus(ctx); err != nil && ctx.Err() == nil {
				a.Log.Warn("Writing the node's status failed and is tried again", "error", err)
			}
		}
	}
}

func (a *agent) renewLease(ctx context.Context) error {
	holder, seconds, now := Name, int32(40), metav1.NowMicro()
	leases := a.client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	spec := coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds, RenewTime: &now}
	body, err := json.Marshal(map[string]any{"spec": spec})
	if err != nil {
		return fmt.Errorf("encode lease: %w", err)
	}
	_, err = leases.Patch(ctx, Name, types.MergePatchType, body, metav1.PatchOptions{})
	if apierrors.IsNotFound(err) {
		_, err = leases.Create(ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: Name}, Spec: spec},
			metav1.CreateOptions{})
	}
	return err
}

// writeNodeStatus writes the status, without which neither the daemon set controller nor kubectl logs use the node. It
// has an address of no other type than InternalIP, since the API server would prefer a host name, which leads nowhere.
func (a *agent) writeNodeStatus(ctx context.Context) error {
	version, err := a.client.Discovery().ServerVersion()
	if err != nil {
		return fmt.Errorf("ask for the API server's version: %w", err)
	}
	now := metav1.Now()
	conditions := []corev1.NodeCondition{}
	for _, c := range []struct {
		kind   corev1.NodeConditionType
		status corev1.ConditionStatus
		reason string
	}{
		{corev1.NodeMemoryPressure, corev1.ConditionFalse, "KubeletHasSufficientMemory"},
		{corev1.NodeDiskPressure, corev1.ConditionFalse, "KubeletHasNoDiskPressure"},
		{corev1.NodePIDPressure, corev1.ConditionFalse, "KubeletHasSufficientPID"},
		{corev1.NodeReady, corev1.ConditionTrue, "KubeletReady"},
	} {
		conditions = append(conditions, corev1.NodeCondition{
			Type: c.kind, Status: c.status, Reason: c.reason,
			LastHeartbeatTime: now, LastTransitionTime: a.started,
		})
	}
	var addresses []corev1.NodeAddress
	for _, g := range a.gateways() {
		addresses = append(addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: g.String()})
	}
	status := corev1.NodeStatus{
		Capacity: field.Capacity(), Allocatable: field.Capacity(),
		Conditions:      conditions,
		Addresses:       addresses,
		DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: kubeletPort}},
		NodeInfo: corev1.NodeSystemInfo{
			OperatingSystem: "linux", Architecture: runtime.GOARCH, OSImage: "namespaces on the local machine",
			KubeletVersion: version.GitVersion, ContainerRuntimeVersion: "gatehouse://1",
		},
	}
	body, err := json.Marshal(map[string]any{"status": status})
	if err != nil {
		return fmt.Errorf("encode node status: %w", err)
	}
	_, err = a.client.CoreV1().Nodes().Patch(ctx, Name, types.MergePatchType, body, metav1.PatchOptions{}, "status")
	return err
}
