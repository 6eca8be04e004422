package kube

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/envoyproxy"
	"gatehouse/translator"
)

// Fleets watches the objects of the Gateways' fleets. It reports the state of each fleet to put. It also calls changed
// when objects of a Gateway have changed, so that drift can be repaired.
type Fleets struct {
	Reader client.Reader
	// KeyOf returns the Gateway of an object; false if it belongs to no fleet.
	KeyOf   func(metav1.Object) (string, bool)
	Put     func(...translator.Event)
	Changed func(gateway string)

	mu sync.Mutex
	// failures has the reason why the objects of a fleet cannot be made, by Gateway.
	failures map[string]string
	// atNodes has the Gateways whose fleets are reached through the cluster's nodes.
	atNodes map[string]bool
}

// Watch returns when the existing fleets have been reported.
func (f *Fleets) Watch(ctx context.Context, c cache.Cache) error {
	var synced []toolscache.InformerSynced
	var informers []cache.Informer // All of them come first, because an event of one kind reads objects of the others.
	for _, kind := range []client.Object{
		&appsv1.Deployment{}, &appsv1.DaemonSet{}, &corev1.Service{}, &corev1.ConfigMap{},
		&corev1.ServiceAccount{},
	} {
		informer, err := c.GetInformer(ctx, kind, cache.BlockUntilSynced(false))
		if err != nil {
			return fmt.Errorf("watch %T: %w", kind, err)
		}
		informers = append(informers, informer)
	}
	if err := f.watchNodes(ctx, c); err != nil {
		return err
	}
	for _, informer := range informers {
		registration, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
			AddFunc:    func(o any) { f.event(ctx, o) },
			UpdateFunc: func(_, o any) { f.event(ctx, o) },
			DeleteFunc: func(o any) {
				if unseen, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
					o = unseen.Obj
				}
				f.event(ctx, o)
			},
		})
		if err != nil {
			return fmt.Errorf("watch the fleets' objects: %w", err)
		}
		synced = append(synced, registration.HasSynced)
	}
	if !toolscache.WaitForCacheSync(ctx.Done(), synced...) {
		return fmt.Errorf("wait for the first complete list of the fleets' objects: %w", ctx.Err())
	}
	return nil
}

func (f *Fleets) event(ctx context.Context, o any) {
	object, ok := o.(client.Object)
	if !ok {
		return
	}
	gateway, owned := f.KeyOf(object)
	if !owned {
		return
	}
	f.Changed(gateway)
	f.put(ctx, gateway)
}

// Failed reports why the objects of a Gateway's fleet cannot be made; empty when they can.
func (f *Fleets) Failed(ctx context.Context, gateway, why string) {
	f.mu.Lock()
	if f.failures == nil {
		f.failures = map[string]string{}
	}
	same := f.failures[gateway] == why
	f.failures[gateway] = why
	if why == "" {
		delete(f.failures, gateway)
	}
	f.mu.Unlock()
	if !same {
		f.put(ctx, gateway)
	}
}

func (f *Fleets) put(ctx context.Context, gateway string) {
	// One at a time, so that the newest report is put last.
	f.mu.Lock()
	defer f.mu.Unlock()
	report, err := f.report(ctx, gateway)
	if err == nil { // The cache always answers; after it is closed no report is needed.
		report.Failure = f.failures[gateway]
		nothing := reflect.DeepEqual(report, translator.FleetStatus{}) // There is no fleet, or not yet.
		f.Put(translator.Event{Fleet: &translator.FleetReport{Key: gateway, Fleet: report}, Deleted: nothing})
	}
}

// report reads the state of a fleet from the caches. While a fleet moves from one Deployment or DaemonSet to another,
// the proxies of both count. f.mu must be held.
func (f *Fleets) report(ctx context.Context, gateway string) (translator.FleetStatus, error) {
	namespace, name, _ := strings.Cut(gateway, "/")
	of := client.MatchingLabels(envoyproxy.OwnerLabels(namespace, name))
	var (
		fleet       translator.FleetStatus
		deployments appsv1.DeploymentList
		daemons     appsv1.DaemonSetList
		services    corev1.ServiceList
	)
	for _, list := range []client.ObjectList{&deployments, &daemons, &services} {
		if err := f.Reader.List(ctx, list, of); err != nil {
			return fleet, fmt.Errorf("list the fleet of Gateway %s: %w", gateway, err)
		}
	}
	for i := range deployments.Items {
		if d := &deployments.Items[i]; f.owned(d) {
			fleet.Available += d.Status.AvailableReplicas
			fleet.Desired += *d.Spec.Replicas // The API server sets omitted fields.
		}
	}
	for i := range daemons.Items {
		if d := &daemons.Items[i]; f.owned(d) {
			fleet.Available += d.Status.NumberAvailable
			fleet.Desired += d.Status.DesiredNumberScheduled
		}
	}
	delete(f.atNodes, gateway)
	for i := range services.Items {
		s := &services.Items[i]
		if !f.owned(s) {
			continue
		}
		found := addresses(s)
		if s.Spec.Type == corev1.ServiceTypeNodePort && len(found) == 0 {
			var err error
			if found, err = f.nodeAddresses(ctx, gateway, s.Spec.IPFamilies); err != nil {
				return fleet, err
			}
		}
		fleet.Addresses = append(fleet.Addresses, found...)
		fleet.Static = slices.Concat(fleet.Static, external(s), internal(s))
	}
	return fleet, nil
}

func (f *Fleets) owned(o metav1.Object) bool {
	_, owned := f.KeyOf(o)
	return owned
}

// addresses are the addresses of a Service, in the form of a Gateway's status.
func addresses(s *corev1.Service) []gwapiv1.GatewayStatusAddress {
	var found []gwapiv1.GatewayStatusAddress
	if s.Spec.Type == corev1.ServiceTypeLoadBalancer {
		for _, in := range s.Status.LoadBalancer.Ingress {
			found = add(found, gwapiv1.IPAddressType, in.IP, gwapiv1.GatewayAddressRoutabilityDefault)
			found = add(found, gwapiv1.HostnameAddressType, in.Hostname, gwapiv1.GatewayAddressRoutabilityDefault)
		}
	}
	if len(found) == 0 {
		found = external(s)
	}
	if len(found) == 0 && s.Spec.Type == corev1.ServiceTypeClusterIP {
		return internal(s)
	}
	return found
}

// external are the external IPs of a Service, internal its cluster IPs.
func external(s *corev1.Service) (found []gwapiv1.GatewayStatusAddress) {
	for _, ip := range s.Spec.ExternalIPs {
		found = add(found, gwapiv1.IPAddressType, ip, gwapiv1.GatewayAddressRoutabilityDefault)
	}
	return found
}

func internal(s *corev1.Service) (found []gwapiv1.GatewayStatusAddress) {
	for _, ip := range s.Spec.ClusterIPs {
		found = add(found, gwapiv1.IPAddressType, ip, gwapiv1.GatewayAddressRoutabilityCluster)
	}
	return found
}

// add appends an address if it is not in the list yet.
func add(to []gwapiv1.GatewayStatusAddress, kind gwapiv1.AddressType, value string,
	from gwapiv1.GatewayAddressRoutabilityType,
) []gwapiv1.GatewayStatusAddress {
	if value == "" || value == corev1.ClusterIPNone || slices.ContainsFunc(to,
		func(a gwapiv1.GatewayStatusAddress) bool { return a.Value == value }) {
		return to
	}
	return append(to, gwapiv1.GatewayStatusAddress{Type: &kind, Value: value, Routability: &from})
}
