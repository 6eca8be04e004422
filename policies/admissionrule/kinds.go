package admissionrule

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	rulesv1alpha1 "gatehouse/api/rules/v1alpha1"
)

// Resource is a kind that rules can be about.
type Resource struct {
	Group, Version, Kind string
	// Name is the name in the paths of the API, such as httproutes.
	Name string
	// Cluster reports whether its objects have no namespace.
	Cluster bool
	// Partial reports whether admission sees only some of its objects or changes. Only rules that read the effective
	// configuration can be about them: all that changes it is seen.
	Partial bool
	// Unborn reports whether admission does not see that objects are created.
	Unborn bool
}

// GVK is the kind in the version in which it is judged.
func (r Resource) GVK() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: r.Group, Version: r.Version, Kind: r.Kind}
}

func (r Resource) scope() string {
	if r.Cluster {
		return rulesv1alpha1.ScopeCluster
	}
	return rulesv1alpha1.ScopeNamespaced
}

const (
	gatewayGroup      = "gateway.networking.k8s.io"
	experimentalGroup = "gateway.networking.x-k8s.io"
	envoyGroup        = "gateway.envoyproxy.io"
)

// Resources are the kinds that rules can be about: those that the API server sends to the webhook.
var Resources = []Resource{
	{Group: gatewayGroup, Version: "v1", Kind: "GatewayClass", Name: "gatewayclasses", Cluster: true},
	{Group: gatewayGroup, Version: "v1", Kind: "Gateway", Name: "gateways"},
	{Group: gatewayGroup, Version: "v1", Kind: "ListenerSet", Name: "listenersets"},
	{Group: gatewayGroup, Version: "v1", Kind: "HTTPRoute", Name: "httproutes"},
	{Group: gatewayGroup, Version: "v1", Kind: "GRPCRoute", Name: "grpcroutes"},
	{Group: gatewayGroup, Version: "v1", Kind: "TLSRoute", Name: "tlsroutes"},
	{Group: gatewayGroup, Version: "v1", Kind: "TCPRoute", Name: "tcproutes"},
	{Group: gatewayGroup, Version: "v1", Kind: "UDPRoute", Name: "udproutes"},
	{Group: gatewayGroup, Version: "v1", Kind: "BackendTLSPolicy", Name: "backendtlspolicies"},
	{Group: experimentalGroup, Version: "v1alpha1", Kind: "XBackendTrafficPolicy", Name: "xbackendtrafficpolicies"},
	{Group: envoyGroup, Version: "v1alpha1", Kind: "EnvoyProxy", Name: "envoyproxies"},
	{Group: envoyGroup, Version: "v1alpha1", Kind: "Backend", Name: "backends"},
	{Group: envoyGroup, Version: "v1alpha1", Kind: "HTTPRouteFilter", Name: "httproutefilters"},
	{Group: envoyGroup, Version: "v1alpha1", Kind: "BackendTrafficPolicy", Name: "backendtrafficpolicies"},
	{Group: envoyGroup, Version: "v1alpha1", Kind: "SecurityPolicy", Name: "securitypolicies"},
	{Group: envoyGroup, Version: "v1alpha1", Kind: "ClientTrafficPolicy", Name: "clienttrafficpolicies"},
	{Group: envoyGroup, Version: "v1alpha1", Kind: "EnvoyExtensionPolicy", Name: "envoyextensionpolicies"},
	{Group: envoyGroup, Version: "v1alpha1", Kind: "EnvoyPatchPolicy", Name: "envoypatchpolicies"},
	{Group: gatewayGroup, Version: "v1", Kind: "ReferenceGrant", Name: "referencegrants", Partial: true},
	{Version: "v1", Kind: "Secret", Name: "secrets", Partial: true},
	{Version: "v1", Kind: "ConfigMap", Name: "configmaps", Partial: true},
	{Version: "v1", Kind: "Service", Name: "services", Partial: true, Unborn: true},
	{Version: "v1", Kind: "Namespace", Name: "namespaces", Cluster: true, Partial: true, Unborn: true},
	{Group: "certificates.k8s.io", Version: "v1", Kind: "ClusterTrustBundle", Name: "clustertrustbundles", Cluster: true, Partial: true},
	{Group: "multicluster.x-k8s.io", Version: "v1alpha1", Kind: "ServiceImport", Name: "serviceimports", Partial: true, Unborn: true},
}

// ResourceOf returns the resource of a kind in any version.
func ResourceOf(kind schema.GroupKind) (Resource, bool) {
	for _, r := range Resources {
		if r.Group == kind.Group && r.Kind == kind.Kind {
			return r, true
		}
	}
	return Resource{}, false
}

// resourcesIn lists the resources of a group, to tell users what they can write.
func resourcesIn(group string) string {
	var names []string
	for _, r := range Resources {
		if r.Group == group || group == "*" {
			names = append(names, r.Name)
		}
	}
	return strings.Join(names, ", ")
}

// checkResources returns what is wrong with a resource rule, by the field that it is about.
func checkResources(r *rulesv1alpha1.ResourceRule) (field, message string) {
	for i, group := range r.APIGroups {
		known := resourcesIn(group)
		if known == "" {
			return fmt.Sprintf("apiGroups[%d]", i), fmt.Sprintf("rules cannot be about group %q, because Gatehouse does not admit its kinds: write %s, %s or %s",
				group, gatewayGroup, envoyGroup, experimentalGroup)
		}
		for j, name := range r.Resources {
			if name == "*" {
				continue
			}
			at := slices.IndexFunc(Resources, func(k Resource) bool { return k.Name == name && (k.Group == group || group == "*") })
			if at < 0 && !anywhere(r.APIGroups, name) {
				return fmt.Sprintf("resources[%d]", j), fmt.Sprintf("rules cannot be about resource %q of group %q: write one of %s, or *",
					name, group, known)
			}
			if at >= 0 && !slices.Contains(r.APIVersions, "*") && !slices.Contains(r.APIVersions, Resources[at].Version) {
				return "apiVersions", fmt.Sprintf("version %s of %s is not among them, and it is the version in which Gatehouse judges them: write %q",
					Resources[at].Version, name, Resources[at].Version)
			}
		}
	}
	return "", ""
}

// anywhere reports whether one of the groups has a resource.
func anywhere(groups []string, name string) bool {
	return slices.ContainsFunc(Resources, func(r Resource) bool {
		return r.Name == name && slices.Contains(groups, r.Group)
	})
}
