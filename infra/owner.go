package infra

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/envoyproxy"
)

// Name is the name of a Gateway's objects in the control plane's namespace. Different Gateways have different names, and all are
// DNS labels.
func Name(gatewayNamespace, gatewayName string) string {
	key := gatewayNamespace + "/" + gatewayName
	return "envoy-" + short(key, key)
}

// short is the text as a DNS label of at most 57 characters, made unique by a hash of the key.
func short(text, key string) string {
	const room = 48
	readable := strings.NewReplacer("/", "-", ".", "-").Replace(text)
	if len(readable) > room {
		readable = strings.TrimRight(readable[:room], "-")
	}
	sum := sha256.Sum256([]byte(key))
	return readable + "-" + hex.EncodeToString(sum[:4])
}

// labelValue is a name as the value of a label, which has less room.
func labelValue(name string) string {
	if len(name) <= validation.LabelValueMaxLength {
		return name
	}
	return short(name, name)
}

// managedBy is Envoy Gateway's value, so that its users' selectors and dashboards find the fleet, and a fleet of Envoy Gateway's is
// taken over in place, with the address of its load balancer.
const managedBy = "envoy-gateway"

// OwnerLabels are the labels by which the objects of a Gateway are found. They never change.
func OwnerLabels(gatewayNamespace, gatewayName string) map[string]string {
	labels := ManagedLabels()
	labels[envoyproxy.LabelGatewayNamespace] = gatewayNamespace
	labels[envoyproxy.LabelGatewayName] = labelValue(gatewayName)
	return labels
}

// ManagedLabels are the labels of the objects of all fleets.
func ManagedLabels() map[string]string {
	return map[string]string{
		envoyproxy.LabelName:      "envoy",
		envoyproxy.LabelComponent: "proxy",
		envoyproxy.LabelManagedBy: managedBy,
	}
}

// annotationGateway has the name of a Gateway that is too long for a label.
const annotationGateway = "gatehouse.dev/owning-gateway-name"

// KeyOf is the namespace/name of the Gateway whose fleet the object belongs to; false if it belongs to none.
func KeyOf(o client.Object) (string, bool) {
	labels := o.GetLabels()
	for label, value := range ManagedLabels() {
		if labels[label] != value {
			return "", false
		}
	}
	namespace, name := labels[envoyproxy.LabelGatewayNamespace], labels[envoyproxy.LabelGatewayName]
	if long, ok := o.GetAnnotations()[annotationGateway]; ok {
		name = long
	}
	return namespace + "/" + name, namespace != "" && name != ""
}

func (f *fleet) ownerLabels() map[string]string {
	return OwnerLabels(f.Gateway.Namespace, f.Gateway.Name)
}

// meta is the metadata of an object. The labels by which it is found win over labels, and labels over those of the Gateway.
func (f *fleet) meta(name string, labels, annotations map[string]string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name:            name,
		Namespace:       f.namespace,
		Labels:          f.labels(labels),
		Annotations:     f.annotations(annotations),
		OwnerReferences: []metav1.OwnerReference{f.owner()},
	}
}

func (f *fleet) labels(more map[string]string) map[string]string {
	labels := map[string]string{}
	if i := f.Gateway.Spec.Infrastructure; i != nil {
		for k, v := range i.Labels {
			labels[string(k)] = string(v)
		}
	}
	maps.Copy(labels, more)
	if f.besideGateway() {
		labels[gwapiv1.GatewayNameLabelKey] = labelValue(f.Gateway.Name)
	}
	maps.Copy(labels, f.ownerLabels())
	return labels
}

func (f *fleet) annotations(more map[string]string) map[string]string {
	annotations := map[string]string{}
	if i := f.Gateway.Spec.Infrastructure; i != nil {
		for k, v := range i.Annotations {
			annotations[string(k)] = string(v)
		}
	}
	maps.Copy(annotations, more)
	if labelValue(f.Gateway.Name) != f.Gateway.Name {
		annotations[annotationGateway] = f.Gateway.Name
	}
	return annotations
}

// owner makes the cluster's garbage collector remove the object with its owner. An owner must not be in another namespace, so it
// is the GatewayClass, which has none, if the fleet does not run beside its Gateway.
func (f *fleet) owner() metav1.OwnerReference {
	if f.besideGateway() || f.Class == nil {
		return metav1.OwnerReference{APIVersion: gwapiv1.GroupVersion.String(), Kind: "Gateway", Name: f.Gateway.Name, UID: f.Gateway.UID}
	}
	return metav1.OwnerReference{APIVersion: gwapiv1.GroupVersion.String(), Kind: "GatewayClass", Name: f.Class.Name, UID: f.Class.UID}
}
