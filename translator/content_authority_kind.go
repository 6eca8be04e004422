package translator

import (
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"gatehouse/policies/certificate"
	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
)

// ClusterTrustBundles are a kind of Kubernetes, but not every cluster serves them.
var ClusterTrustBundles = schema.GroupKind{Group: certificatesv1.GroupName, Kind: "ClusterTrustBundle"}

// trustBundleField is the only field of a ClusterTrustBundle that holds certificates.
const trustBundleField = "spec.trustBundle"

// authorityKind is a kind of object that can hold CA certificates.
type authorityKind struct {
	schema.GroupKind
	// whole reports whether objects of the kind are cluster-scoped. References to them need no grant.
	whole bool
	// enable is how to make a cluster serve the kind, empty if every cluster does.
	enable string
	// read returns the data of an object, and false if the object does not exist.
	read func(t *Tables, r *flow.Read, key string) (map[string][]byte, bool)
}

// authorityKinds is the only list of these kinds.
var authorityKinds = []*authorityKind{
	{GroupKind: schema.GroupKind{Kind: "ConfigMap"}, read: func(t *Tables, r *flow.Read, key string) (map[string][]byte,
		bool,
	) {
		c, ok := t.in.configMaps.Get(r, key)
		if !ok {
			return nil, false
		}
		return ConfigMapData(c), true
	}},
	{GroupKind: schema.GroupKind{Kind: "Secret"}, read: func(t *Tables, r *flow.Read, key string) (map[string][]byte,
		bool,
	) {
		s, ok := t.in.secrets.Get(r, key)
		if !ok {
			return nil, false
		}
		return s.Data, true
	}},
	{
		GroupKind: ClusterTrustBundles, whole: true,
		enable: "upgrade to Kubernetes 1.37; or, from 1.33 on, start the API server with --feature-gates=ClusterTrustBundle=true and " +
			"--runtime-config=certificates.k8s.io/v1beta1/clustertrustbundles=true",
		read: func(t *Tables, r *flow.Read, key string) (map[string][]byte, bool) {
			b, ok := t.in.bundles.Get(r, key)
			if !ok {
				return nil, false
			}
			return map[string][]byte{trustBundleField: []byte(b.Spec.TrustBundle)}, true
		},
	},
}

// authoritiesAsked says which references are possible, in a text that fits behind "refer to ".
const authoritiesAsked = "a ConfigMap or a Secret with key " + certificate.AuthoritiesKey +
	", or to a ClusterTrustBundle of group " + certificatesv1.GroupName

// authorityKindOf is nil if objects of that kind hold no CA certificates.
func authorityKindOf(group, kind string) *authorityKind {
	for _, k := range authorityKinds {
		if k.Group == group && k.Kind == kind {
			return k
		}
	}
	return nil
}

// authorityRef is a reference to CA certificates from an object in namespace own. Without a given namespace it is for
// the same namespace, if the kind is namespaced.
func authorityRef(group, kind, given, own, name string) verdict.Ref {
	if k := authorityKindOf(group, kind); given == "" && (k == nil || !k.whole) {
		given = own
	}
	return verdict.Ref{Group: group, Kind: kind, Namespace: given, Name: name}
}

// dataKey finds the CA certificates of an object.
func dataKey(ref verdict.Ref) string { return ref.Kind + "/" + Key(ref.Namespace, ref.Name) }

// objectData is the data of the object with a dataKey, and false if the object does not exist.
func (t *Tables) objectData(r *flow.Read, id string) (map[string][]byte, bool) {
	kind, key, _ := strings.Cut(id, "/")
	for _, k := range authorityKinds {
		if k.Kind == kind {
			return k.read(t, r, key)
		}
	}
	return nil, false
}

// stableBundle is the bundle as the newest version has it. The versions differ in nothing but their name.
func stableBundle(b *certificatesv1beta1.ClusterTrustBundle) *certificatesv1.ClusterTrustBundle {
	return &certificatesv1.ClusterTrustBundle{
		TypeMeta:   metav1.TypeMeta{APIVersion: certificatesv1.SchemeGroupVersion.String(), Kind: ClusterTrustBundles.Kind},
		ObjectMeta: b.ObjectMeta, Spec: certificatesv1.ClusterTrustBundleSpec(b.Spec),
	}
}

// sameBundle compares all that is read of a bundle.
func sameBundle(a, b *certificatesv1.ClusterTrustBundle) bool {
	return a.UID == b.UID && a.Spec == b.Spec
}
