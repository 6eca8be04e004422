package offline

import (
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// clusterScoped are the kinds of Kubernetes itself, and others that listeners are judged by, whose objects are in no
// namespace, by their group. CRDs say it of their kinds, but of its own kinds Kubernetes says it only while it runs.
var clusterScoped = map[string][]string{
	"": {"ComponentStatus", "Namespace", "Node", "PersistentVolume"},
	"admissionregistration.k8s.io": {
		"MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding", "MutatingWebhookConfiguration",
		"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "ValidatingWebhookConfiguration",
	},
	"apiextensions.k8s.io":   {"CustomResourceDefinition"},
	"apiregistration.k8s.io": {"APIService"},
	"authentication.k8s.io":  {"SelfSubjectReview", "TokenReview"},
	"authorization.k8s.io":   {"SelfSubjectAccessReview", "SelfSubjectRulesReview", "SubjectAccessReview"},
	// No build of the program contains the CRD of this kind.
	"cert-manager.io":              {"ClusterIssuer"},
	"certificates.k8s.io":          {"CertificateSigningRequest", "ClusterTrustBundle"},
	"flowcontrol.apiserver.k8s.io": {"FlowSchema", "PriorityLevelConfiguration"},
	// The CRD of this kind says it too, but not every build of the program contains it.
	"gateway.networking.k8s.io": {"GatewayClass"},
	"networking.k8s.io":         {"IPAddress", "IngressClass", "ServiceCIDR"},
	"node.k8s.io":               {"RuntimeClass"},
	"rbac.authorization.k8s.io": {"ClusterRole", "ClusterRoleBinding"},
	"resource.k8s.io":           {"DeviceClass", "DeviceTaintRule", "ResourceSlice"},
	"scheduling.k8s.io":         {"PriorityClass"},
	"storage.k8s.io":            {"CSIDriver", "CSINode", "StorageClass", "VolumeAttachment", "VolumeAttributesClass"},
	"storagemigration.k8s.io":   {"StorageVersionMigration"},
}

// ClusterScoped reports whether a kind is listed as one whose objects are in no namespace.
func ClusterScoped(kind schema.GroupKind) bool {
	return slices.Contains(clusterScoped[kind.Group], kind.Kind)
}

// namespaced reports whether the object is in a namespace.
func namespaced(o *object) bool {
	if o.defined != nil {
		return o.defined.Namespaced
	}
	return !ClusterScoped(o.kind.GroupKind())
}
