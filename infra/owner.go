package infra

import (
	"maps"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/config"
	"gatehouse/policies/envoyproxy"
)

// Name returns the name of a Gateway's objects in the control plane's namespace. Different Gateways have different
// names, and all are DNS labels.
func Name(gatewayNamespace, gatewayName string) string {
	key := gatewayNamespace + "/" + gatewayName
	return "envoy-" + envoyproxy.Short(key, key)
}

// KeyOf returns the namespace/name of the Gateway whose fleet the object belongs to; false if it belongs to none.
// Labels alone prove nothing, because users may set them in their own namespaces. An object of a fleet must be in the
// control plane's namespace, or, if fleets run beside their Gateways, in its Gateway's namespace.
func (s Settings) KeyOf(o metav1.Object) (string, bool) {
	key, owned := envoyproxy.KeyOf(o)
	home, _, _ := strings.Cut(key, "/")
	beside := s.DeployMode == config.DeployGatewayNamespace && o.GetNamespace() == home
	return key, owned && (beside || o.GetNamespace() == s.ControllerNamespace)
}

func (f *fleetPlan) ownerLabels() map[string]string {
	return envoyproxy.OwnerLabels(f.Gateway.Namespace, f.Gateway.Name)
}

// meta returns the metadata of an object. The labels that identify it have priority over labels, and labels over those
// of the Gateway.
func (f *fleetPlan) meta(name string, labels, annotations map[string]string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name:            name,
		Namespace:       f.namespace,
		Labels:          f.labels(labels),
		Annotations:     f.annotations(annotations),
		OwnerReferences: f.owners(),
	}
}

func (f *fleetPlan) labels(more map[string]string) map[string]string {
	labels := map[string]string{}
	if i := f.Gateway.Spec.Infrastructure; i != nil {
		for k, v := range i.Labels {
			labels[string(k)] = string(v)
		}
	}
	maps.Copy(labels, more)
	if f.besideGateway() {
		labels[gwapiv1.GatewayNameLabelKey] = envoyproxy.LabelValue(f.Gateway.Name)
	}
	maps.Copy(labels, f.ownerLabels())
	return labels
}

func (f *fleetPlan) annotations(more map[string]string) map[string]string {
	annotations := map[string]string{}
	if i := f.Gateway.Spec.Infrastructure; i != nil {
		for k, v := range i.Annotations {
			annotations[string(k)] = string(v)
		}
	}
	maps.Copy(annotations, more)
	delete(annotations, envoyproxy.AnnotationGatewayName) // Users must not set the owner of the object.
	if envoyproxy.LabelValue(f.Gateway.Name) != f.Gateway.Name {
		annotations[envoyproxy.AnnotationGatewayName] = f.Gateway.Name
	}
	return annotations
}

// owners make the cluster's garbage collector remove the object with its Gateway, if the fleet runs beside it: an owner
// must be in the same namespace. Elsewhere the object has no owner, and the Keeper removes it. The GatewayClass is not
// an owner, because deleting a class must not end the traffic of its Gateways.
func (f *fleetPlan) owners() []metav1.OwnerReference {
	if !f.besideGateway() {
		return nil
	}
	return []metav1.OwnerReference{{
		APIVersion: gwapiv1.GroupVersion.String(), Kind: "Gateway", Name: f.Gateway.Name,
		UID: f.Gateway.UID,
	}}
}
