package infra

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/envoyproxy"
	"gatehouse/translator"
)

// service is the Service that clients connect to.
func (f *fleetPlan) service() (*corev1.Service, error) {
	given := f.kubernetes.EnvoyService
	if given == nil {
		given = &v1alpha1.KubernetesServiceSpec{}
	}
	service := &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: f.meta(or(given.Name, f.name), given.Labels, given.Annotations),
		Spec: corev1.ServiceSpec{
			Type:     f.serviceType(given),
			Selector: f.ownerLabels(),
			Ports:    f.servicePorts(),
		},
	}
	exposure(&service.Spec, given)
	f.families(&service.Spec)
	f.addresses(&service.Spec)
	patched, err := envoyproxy.Patch(*service, given.Patch)
	if err != nil {
		return nil, fmt.Errorf("patching the Service of Gateway %s: %w", f.key, err)
	}
	return &patched, nil
}

// serviceType is the type in the EnvoyProxy, unless the Gateway requests only addresses inside the cluster: an internal
// Gateway must not be exposed.
func (f *fleetPlan) serviceType(given *v1alpha1.KubernetesServiceSpec) corev1.ServiceType {
	if !translator.Exposed(f.Gateway) {
		return corev1.ServiceTypeClusterIP
	}
	return corev1.ServiceType(or(given.Type, v1alpha1.ServiceTypeLoadBalancer))
}

func (f *fleetPlan) servicePorts() []corev1.ServicePort {
	ports := make([]corev1.ServicePort, 0, len(f.Ports))
	for _, p := range f.Ports {
		ports = append(ports, corev1.ServicePort{
			Name:       p.Name,
			Protocol:   p.Protocol,
			Port:       p.Port,
			TargetPort: intstr.FromInt32(p.Target),
		})
	}
	return ports
}

// exposure sets fields that apply only to some types of Service; the API server rejects them for others.
func exposure(spec *corev1.ServiceSpec, given *v1alpha1.KubernetesServiceSpec) {
	if spec.Type == corev1.ServiceTypeClusterIP {
		return
	}
	spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicy(or(given.ExternalTrafficPolicy,
		v1alpha1.ServiceExternalTrafficPolicyLocal))
	if spec.Type != corev1.ServiceTypeLoadBalancer {
		return
	}
	spec.LoadBalancerClass = given.LoadBalancerClass
	spec.AllocateLoadBalancerNodePorts = given.AllocateLoadBalancerNodePorts
	spec.LoadBalancerSourceRanges = given.LoadBalancerSourceRanges
	spec.LoadBalancerIP = or(given.LoadBalancerIP, "")
}

// families sets the IP families of the Service's addresses; the cluster chooses one if the EnvoyProxy does not. The
// policy is always set: otherwise a Service that was dual stack would stay so, and keep an address at which no Envoy
// listens.
func (f *fleetPlan) families(spec *corev1.ServiceSpec) {
	policy := corev1.IPFamilyPolicySingleStack
	switch or(f.spec.IPFamily, "") {
	case v1alpha1.IPFamilyIPv4:
		spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol}
	case v1alpha1.IPFamilyIPv6:
		spec.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol}
	case v1alpha1.IPFamilyDualStack:
		spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}
		policy = corev1.IPFamilyPolicyRequireDualStack
	}
	spec.IPFamilyPolicy = &policy
}

// addresses requests the IP addresses of the Gateway's spec.addresses. For a ClusterIP Service they are cluster IPs,
// whatever their routability.
func (f *fleetPlan) addresses(spec *corev1.ServiceSpec) {
	anywhere, cluster := translator.StaticAddresses(f.Gateway, f.EnvoyProxy)
	if spec.Type == corev1.ServiceTypeClusterIP {
		cluster = append(cluster, anywhere...)
	} else {
		for _, ip := range anywhere {
			spec.ExternalIPs = append(spec.ExternalIPs, ip.String())
		}
	}
	if len(cluster) == 0 {
		return
	}
	first := cluster[0]
	spec.ClusterIP = first.String()
	if *spec.IPFamilyPolicy != corev1.IPFamilyPolicyRequireDualStack {
		return
	}
	// The first family is the family of the first address; there is one address of each.
	if first.Is6() {
		slices.Reverse(spec.IPFamilies)
	}
	for _, ip := range cluster {
		if ip.Is6() != first.Is6() {
			spec.ClusterIPs = []string{first.String(), ip.String()}
			return
		}
	}
}
