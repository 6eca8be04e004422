package publish

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
)

// Watch publishes every address that the status of a Service of type LoadBalancer has, until ctx ends.
func (p *Publisher) Watch(ctx context.Context, client kubernetes.Interface) error {
	factory := informers.NewSharedInformerFactory(client, 0)
	services := factory.Core().V1().Services()
	changed := make(chan struct{}, 1)
	notice := func() {
		select {
		case changed <- struct{}{}:
		default: // One is waiting already.
		}
	}
	_, err := services.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { notice() },
		UpdateFunc: func(any, any) { notice() },
		DeleteFunc: func(any) { notice() },
	})
	if err != nil {
		return fmt.Errorf("watching Services: %w", err)
	}
	factory.Start(ctx.Done())
	defer factory.Shutdown()
	var last []Service
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
		now, err := published(services.Lister())
		if err != nil {
			return err
		}
		if !slices.EqualFunc(now, last, same) {
			p.Set(ctx, slices.Clone(now))
			last = now
		}
		time.Sleep(10 * time.Millisecond) // Many Services change at once; publishing them one by one does not help.
	}
}

func published(lister listers.ServiceLister) ([]Service, error) {
	services, err := lister.List(labels.Everything())
	if err != nil {
		return nil, fmt.Errorf("listing Services: %w", err)
	}
	var all []Service
	for _, service := range services {
		for _, ingress := range service.Status.LoadBalancer.Ingress {
			address, err := netip.ParseAddr(ingress.IP)
			if err != nil || !address.Is4() {
				continue // The host's loopback has room for addresses of IPv4 only.
			}
			all = append(all, Service{
				Namespace: service.Namespace, Name: service.Name, Address: address,
				Ports: tcpPorts(service),
			})
		}
	}
	slices.SortFunc(all, compare)
	return all, nil
}

func tcpPorts(service *corev1.Service) []Port {
	var ports []Port
	for _, port := range service.Spec.Ports {
		if port.Protocol == corev1.ProtocolTCP || port.Protocol == "" {
			ports = append(ports, Port{Number: uint16(port.Port)})
		}
	}
	return ports
}

func same(a, b Service) bool {
	return a.Namespace == b.Namespace && a.Name == b.Name && a.Address == b.Address && slices.Equal(a.Ports, b.Ports)
}
