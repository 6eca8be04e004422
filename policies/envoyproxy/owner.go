package envoyproxy

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Short is the text as a DNS label of at most 57 characters, made unique by a hash of the key.
func Short(text, key string) string {
	const room = 48
	readable := strings.NewReplacer("/", "-", ".", "-").Replace(text)
	if len(readable) > room {
		readable = strings.TrimRight(readable[:room], "-")
	}
	sum := sha256.Sum256([]byte(key))
	return readable + "-" + hex.EncodeToString(sum[:4])
}

// LabelValue is a name as the value of a label, which must be shorter.
func LabelValue(name string) string {
	if len(name) <= validation.LabelValueMaxLength {
		return name
	}
	return Short(name, name)
}

// managedBy is the value of Envoy Gateway, so that its users' selectors and dashboards find the fleet, and a fleet of
// Envoy Gateway is taken over in place, with the address of its load balancer.
const managedBy = "envoy-gateway"

// OwnerLabels are the labels that identify the objects of a Gateway. They never change.
func OwnerLabels(gatewayNamespace, gatewayName string) map[string]string {
	labels := ManagedLabels()
	labels[LabelGatewayNamespace] = gatewayNamespace
	labels[LabelGatewayName] = LabelValue(gatewayName)
	return labels
}

// ManagedLabels are the labels of the objects of all fleets.
func ManagedLabels() map[string]string {
	return map[string]string{
		LabelName:      "envoy",
		LabelComponent: "proxy",
		LabelManagedBy: managedBy,
	}
}

// AnnotationGatewayName has the name of a Gateway that is too long for a label.
const AnnotationGatewayName = "gatehouse.dev/owning-gateway-name"

// AnnotationZone has the zone of the node of a pod, where Kubernetes does not copy it as a label.
const AnnotationZone = "gatehouse.dev/zone"

// KeyOf returns the namespace/name of the Gateway whose fleet the object belongs to; false if it belongs to none.
func KeyOf(o metav1.Object) (string, bool) {
	labels := o.GetLabels()
	for label, value := range ManagedLabels() {
		if labels[label] != value {
			return "", false
		}
	}
	namespace, name := labels[LabelGatewayNamespace], labels[LabelGatewayName]
	if long, ok := o.GetAnnotations()[AnnotationGatewayName]; ok {
		name = long
	}
	return namespace + "/" + name, namespace != "" && name != ""
}
