package kube

import (
	"fmt"
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"gatehouse/api/config"
	"gatehouse/controller/fetch"
	"gatehouse/policies"
	"gatehouse/policies/certificate"
	"gatehouse/policies/envoyproxy"
	"gatehouse/translator"
)

// CacheOptions keep the caches small. Managed fields are dropped. For the kinds that fleets consist of, only objects of
// fleets are held, in the namespaces that the control plane may read. ConfigMaps are read everywhere; of those that
// belong to no fleet and have no fetched content, only the content that can be referred to is held, as for Secrets and
// ClusterTrustBundles. Of objects of cert-manager only what onlyIssuance keeps is held, of CRDs only the names, and of
// Nodes only the addresses.
//
// The objects come from the API server of c. An error means that no client can be made from c.
func CacheOptions(c *rest.Config, namespace string, deploy config.DeployType) (cache.Options, error) {
	source, err := dynamic.NewForConfig(c)
	if err != nil {
		return cache.Options{}, fmt.Errorf("make a client for routes: %w", err)
	}
	ofFleets := cache.ByObject{Label: ownedByGateways()}
	if deploy != config.DeployGatewayNamespace {
		ofFleets.Namespaces = map[string]cache.Config{namespace: {}}
	}
	return cache.Options{
		NewInformer:      newInformers(source),
		DefaultTransform: byDefault,
		// Reading must not start a watch: the kind may be gone, and the reader would wait until it returns.
		ReaderFailOnMissingInformer: true,
		ByObject: map[client.Object]cache.ByObject{
			definitions():        {Transform: nameOnly},
			&appsv1.Deployment{}: ofFleets, &appsv1.DaemonSet{}: ofFleets, &corev1.ServiceAccount{}: ofFleets,
			&corev1.ConfigMap{}: {Transform: onlyContent(namespace)},
			&corev1.Secret{}:    {Transform: onlySecrets},
			&corev1.Node{}:      {Transform: onlyAddresses},
		},
	}, nil
}

// byDefault drops managed fields. It also transforms the kinds that the cluster may not have, because options for a
// kind that is not served are rejected.
func byDefault(o any) (any, error) {
	switch o.(type) {
	case *certificatesv1.ClusterTrustBundle, *certificatesv1beta1.ClusterTrustBundle:
		return onlyBundle(o)
	}
	if kept := onlyIssuance(o); kept != nil {
		return kept, nil
	}
	return cache.TransformStripManagedFields()(o)
}

// nameOnly drops everything except the name and version of a CRD. Its annotations may contain the whole definition
// again.
func nameOnly(o any) (any, error) {
	crd, ok := o.(*metav1.PartialObjectMetadata)
	if !ok {
		return o, nil
	}
	crd.ObjectMeta = metav1.ObjectMeta{Name: crd.Name, UID: crd.UID, ResourceVersion: crd.ResourceVersion}
	return crd, nil
}

// onlyContent leaves what is read in a ConfigMap and nothing else, unless it is a fleet's or has fetched content.
// namespace is that of the control plane.
func onlyContent(namespace string) toolscache.TransformFunc {
	return func(o any) (any, error) {
		c, ok := o.(*corev1.ConfigMap)
		if !ok {
			return o, nil
		}
		_, owned := envoyproxy.KeyOf(c)
		if _, fetched := fetch.KeyOf(namespace, c); owned || fetched {
			c.ManagedFields = nil
			return c, nil
		}
		data := translator.ConfigMapData(c)
		return &corev1.ConfigMap{
			ObjectMeta: identity(c), Data: ofUse("ConfigMap", c.Data, data), BinaryData: ofUse("ConfigMap", c.BinaryData, data),
		}, nil
	}
}

// onlySecrets leaves of a Secret its type and what is read. Secrets in which Helm keeps its releases have up to 1 MiB.
func onlySecrets(o any) (any, error) {
	s, ok := o.(*corev1.Secret)
	if !ok {
		return o, nil
	}
	return &corev1.Secret{ObjectMeta: identity(s), Type: s.Type, Data: ofUse("Secret", s.Data, s.Data)}, nil
}

// onlyBundle keeps of a ClusterTrustBundle its certificates.
func onlyBundle(o any) (any, error) {
	switch b := o.(type) {
	case *certificatesv1.ClusterTrustBundle:
		return &certificatesv1.ClusterTrustBundle{
			ObjectMeta: identity(b),
			Spec:       certificatesv1.ClusterTrustBundleSpec{TrustBundle: b.Spec.TrustBundle},
		}, nil
	case *certificatesv1beta1.ClusterTrustBundle:
		return &certificatesv1beta1.ClusterTrustBundle{
			ObjectMeta: identity(b),
			Spec:       certificatesv1beta1.ClusterTrustBundleSpec{TrustBundle: b.Spec.TrustBundle},
		}, nil
	}
	return o, nil
}

// ofUse is the part of an object's content that something may read. The name of one more key stays, without its content, if
// without it the CA certificates would seem to be under the only key that is left (certificate.AuthoritiesIn).
func ofUse[V any](kind string, part map[string]V, whole map[string][]byte) map[string]V {
	only := policies.OnlyKey(kind, whole)
	unread := func(key string) bool {
		return key != only && !policies.Reads(kind, key) && !certificate.IsAuthorities(whole, key)
	}
	left := maps.Clone(whole)
	maps.DeleteFunc(left, func(key string, _ []byte) bool { return unread(key) })
	named := len(left) > 0 && certificate.AuthoritiesIn(left) != certificate.AuthoritiesIn(whole)
	var kept map[string]V
	for _, key := range slices.Sorted(maps.Keys(part)) {
		content := part[key]
		if unread(key) {
			if !named {
				continue
			}
			named, content = false, *new(V)
		}
		if kept == nil {
			kept = map[string]V{}
		}
		kept[key] = content
	}
	return kept
}

// identity is the part of an object's metadata that is always held.
func identity(o client.Object) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: o.GetNamespace(), Name: o.GetName(), UID: o.GetUID(), ResourceVersion: o.GetResourceVersion(),
		CreationTimestamp: o.GetCreationTimestamp(),
	}
}

// onlyAddresses keeps of a Node its addresses.
func onlyAddresses(o any) (any, error) {
	n, ok := o.(*corev1.Node)
	if !ok {
		return o, nil
	}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: n.Name, UID: n.UID, ResourceVersion: n.ResourceVersion},
		Status:     corev1.NodeStatus{Addresses: n.Status.Addresses},
	}, nil
}

func ownedByGateways() labels.Selector {
	owned, err := labels.NewRequirement(envoyproxy.LabelGatewayName, selection.Exists, nil)
	if err != nil {
		panic(err) // The label is a constant.
	}
	return labels.NewSelector().Add(*owned)
}
