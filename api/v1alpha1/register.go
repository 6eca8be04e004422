package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupName is the API group of every kind of this package.
const GroupName = "gateway.envoyproxy.io"

// The kinds of this package, as they are written in manifests.
const (
	KindEnvoyProxy           = "EnvoyProxy"
	KindBackend              = "Backend"
	KindHTTPRouteFilter      = "HTTPRouteFilter"
	KindBackendTrafficPolicy = "BackendTrafficPolicy"
	KindSecurityPolicy       = "SecurityPolicy"
	KindClientTrafficPolicy  = "ClientTrafficPolicy"
	KindEnvoyExtensionPolicy = "EnvoyExtensionPolicy"
	KindEnvoyPatchPolicy     = "EnvoyPatchPolicy"
)

// GroupVersion is the API group and version of every kind of this package.
var GroupVersion = schema.GroupVersion{Group: GroupName, Version: "v1alpha1"}

// AddToScheme registers the kinds of this package and their lists with a scheme.
func AddToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion,
		&EnvoyProxy{}, &EnvoyProxyList{},
		&Backend{}, &BackendList{},
		&HTTPRouteFilter{}, &HTTPRouteFilterList{},
		&BackendTrafficPolicy{}, &BackendTrafficPolicyList{},
		&SecurityPolicy{}, &SecurityPolicyList{},
		&ClientTrafficPolicy{}, &ClientTrafficPolicyList{},
		&EnvoyExtensionPolicy{}, &EnvoyExtensionPolicyList{},
		&EnvoyPatchPolicy{}, &EnvoyPatchPolicyList{},
	)
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}
