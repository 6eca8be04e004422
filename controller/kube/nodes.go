package kube

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/translator"
)

// watchNodes reports the fleets that are reached through nodes again when an address of a node is added or removed.
// Nodes that exist at the start are read together with the fleets' Services.
func (f *Fleets) watchNodes(ctx context.Context, c cache.Cache) error {
	informer, err := c.GetInformer(ctx, &corev1.Node{}, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watch nodes: %w", err)
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerDetailedFuncs{
		AddFunc: func(_ any, initial bool) {
			if !initial {
				f.nodesChanged(ctx)
			}
		},
		UpdateFunc: func(before, after any) { f.nodeUpdated(ctx, before, after) },
		DeleteFunc: func(any) { f.nodesChanged(ctx) },
	})
	if err != nil {
		return fmt.Errorf("watch nodes: %w", err)
	}
	return nil
}

// nodeUpdated ignores updates without a change of addresses: kubelets write the status of their nodes every few
// minutes, and addresses rarely change.
func (f *Fleets) nodeUpdated(ctx context.Context, before, after any) {
	old, _ := before.(*corev1.Node)
	now, _ := after.(*corev1.Node)
	if old == nil || now == nil || !slices.Equal(old.Status.Addresses, now.Status.Addresses) {
		f.nodesChanged(ctx)
	}
}

func (f *Fleets) nodesChanged(ctx context.Context) {
	f.mu.Lock()
	gateways := make([]string, 0, len(f.atNodes))
	for gateway := range f.atNodes {
		gateways = append(gateways, gateway)
	}
	f.mu.Unlock()
	for _, gateway := range gateways {
		f.put(ctx, gateway)
	}
}

// nodeAddresses are the addresses of the nodes in the IP families, sorted by the name of the node, and no more than a
// status can have, so that the same nodes give the same addresses. An external address hides the internal ones of the
// same node and family.
func (f *Fleets) nodeAddresses(ctx context.Context, gateway string,
	families []corev1.IPFamily,
) ([]gwapiv1.GatewayStatusAddress, error) {
	if f.atNodes == nil {
		f.atNodes = map[string]bool{}
	}
	f.atNodes[gateway] = true
	nodes := &corev1.NodeList{}
	if err := f.Reader.List(ctx, nodes); err != nil {
		return nil, fmt.Errorf("list the nodes that Gateway %s is reached at: %w", gateway, err)
	}
	slices.SortFunc(nodes.Items, func(a, b corev1.Node) int { return strings.Compare(a.Name, b.Name) })
	var found []gwapiv1.GatewayStatusAddress
	for _, n := range nodes.Items {
		for _, family := range families {
			for _, ip := range nodeIPs(n.Status.Addresses, family) {
				if found = add(found, gwapiv1.IPAddressType, ip,
					gwapiv1.GatewayAddressRoutabilityDefault); len(found) == translator.MaxAddresses {
					return found, nil
				}
			}
		}
	}
	return found, nil
}

// nodeIPs are the external addresses of a family, or the internal ones if there are none.
func nodeIPs(addresses []corev1.NodeAddress, family corev1.IPFamily) []string {
	for _, kind := range []corev1.NodeAddressType{corev1.NodeExternalIP, corev1.NodeInternalIP} {
		var ips []string
		for _, a := range addresses {
			ip, err := netip.ParseAddr(a.Address)
			if a.Type == kind && err == nil && ip.Is6() == (family == corev1.IPv6Protocol) {
				ips = append(ips, a.Address)
			}
		}
		if len(ips) > 0 {
			return ips
		}
	}
	return nil
}
