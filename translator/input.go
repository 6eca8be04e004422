package translator

import (
	"maps"
	"reflect"
	"time"

	"github.com/cert-manager/cert-manager/pkg/apis/acme"
	acmev1 "github.com/cert-manager/cert-manager/pkg/apis/acme/v1"
	"github.com/cert-manager/cert-manager/pkg/apis/certmanager"
	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
	gwapixv1alpha1 "sigs.k8s.io/gateway-api/apisx/v1alpha1"
	mcsv1alpha1 "sigs.k8s.io/mcs-api/pkg/apis/v1alpha1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies"
	"gatehouse/policies/retrybudget"
	"gatehouse/translator/flow"
)

// Object is a Kubernetes object from an informer. The translation never copies it and never writes to it.
type Object interface {
	metav1.Object
	runtime.Object
}

// Key is the key of the row of an object: namespace/name, or the name alone if the object is cluster-scoped.
func Key(namespace, name string) string {
	if namespace == "" {
		return name
	}
	return namespace + "/" + name
}

func keyOf(o Object) string { return Key(o.GetNamespace(), o.GetName()) }

// clockKey is the key of the clock's only row.
const clockKey = "now"

// inputs are the tables that are written from outside.
type inputs struct {
	classes      *flow.Table[*gwapiv1.GatewayClass]
	gateways     *flow.Table[*gwapiv1.Gateway]
	listenerSets *flow.Table[*gwapiv1.ListenerSet]
	// routes holds all kinds of routes, keyed by routeKey.
	routes         *flow.Table[Object]
	grants         *flow.Table[*gwapiv1.ReferenceGrant]
	namespaces     *flow.Table[*corev1.Namespace]
	services       *flow.Table[*corev1.Service]
	slices         *flow.Table[*discoveryv1.EndpointSlice]
	serviceImports *flow.Table[*mcsv1alpha1.ServiceImport]
	backends       *flow.Table[*v1alpha1.Backend]
	filters        *flow.Table[*v1alpha1.HTTPRouteFilter]
	secrets        *flow.Table[*corev1.Secret]
	configMaps     *flow.Table[*corev1.ConfigMap]
	bundles        *flow.Table[*certificatesv1.ClusterTrustBundle]
	backendTLS     *flow.Table[*gwapiv1.BackendTLSPolicy]
	budgets        *flow.Table[*gwapixv1alpha1.XBackendTrafficPolicy]
	// What cert-manager works on. Its status matters here, and not only its spec.
	certificates   *flow.Table[*cmv1.Certificate]
	requests       *flow.Table[*cmv1.CertificateRequest]
	orders         *flow.Table[*acmev1.Order]
	challenges     *flow.Table[*acmev1.Challenge]
	issuers        *flow.Table[*cmv1.Issuer]
	clusterIssuers *flow.Table[*cmv1.ClusterIssuer]
	envoyProxies   *flow.Table[*v1alpha1.EnvoyProxy]
	policies       *flow.Table[policies.Object]
	// lostClasses are keyed by the Gateway that had the class last, see keepLost.
	lostClasses *flow.Table[*gwapiv1.GatewayClass]
	// fleets is keyed by the Gateway, proxies by the Gateway and the node, see Proxy.key.
	fleets  *flow.Table[FleetStatus]
	proxies *flow.Table[Proxy]
	// fetched is keyed by the key of the Fetch.
	fetched *flow.Table[Fetched]
	// served has a row for each kind that the cluster serves, of those that not every cluster does. It is keyed by the
	// name of the GroupKind.
	served *flow.Table[bool]
	// dropped has a row for each field that the cluster's CRDs do not have.
	dropped *flow.Table[bool]
	// clock has one row, under clockKey: a time that may be slightly late, but not before a moment that has decided
	// something.
	clock *flow.Table[time.Time]

	byType map[reflect.Type]objectInput
}

// objectInput is the table of one Go type of Kubernetes object, with the type forgotten.
type objectInput struct {
	group, kind string

	key func(Object) string
	set func(e *flow.Engine, key string, o Object)
	del func(e *flow.Engine, key string)
	put func(o *flow.Oracle, key string, obj Object)
	// all lists the objects, of whatever type, that are in the table.
	all func(r *flow.Read) []Object
}

func declareInputs(g *flow.Graph) inputs {
	in := inputs{byType: map[reflect.Type]objectInput{}}
	in.classes = declare[*gwapiv1.GatewayClass](&in, g, gwapiv1.GroupName, "GatewayClass")
	in.gateways = declare[*gwapiv1.Gateway](&in, g, gwapiv1.GroupName, "Gateway")
	in.listenerSets = declare[*gwapiv1.ListenerSet](&in, g, gwapiv1.GroupName, "ListenerSet")
	in.routes = flow.Input(g, "Route", sameObject[Object])
	for _, kind := range routeKinds {
		in.byType[reflect.TypeOf(kind.New())] = inputOf(in.routes, gwapiv1.GroupName, string(kind.Name),
			func(o Object) string {
				return routeKey(string(kind.Name), keyOf(o))
			})
	}
	in.grants = declare[*gwapiv1.ReferenceGrant](&in, g, gwapiv1.GroupName, "ReferenceGrant")
	in.namespaces = declare[*corev1.Namespace](&in, g, "", "Namespace")
	in.services = declare[*corev1.Service](&in, g, "", "Service")
	in.slices = declare[*discoveryv1.EndpointSlice](&in, g, discoveryv1.GroupName, "EndpointSlice")
	in.serviceImports = declare[*mcsv1alpha1.ServiceImport](&in, g, mcsv1alpha1.GroupName, "ServiceImport")
	in.backends = declare[*v1alpha1.Backend](&in, g, v1alpha1.GroupName, v1alpha1.KindBackend)
	in.filters = declare[*v1alpha1.HTTPRouteFilter](&in, g, v1alpha1.GroupName, v1alpha1.KindHTTPRouteFilter)
	in.secrets = declare[*corev1.Secret](&in, g, "", "Secret")
	in.configMaps = declare[*corev1.ConfigMap](&in, g, "", "ConfigMap")
	in.bundles = flow.Input(g, ClusterTrustBundles.Kind, sameBundle)
	bundles := inputOf(in.bundles, ClusterTrustBundles.Group, ClusterTrustBundles.Kind, keyOf)
	in.byType[reflect.TypeFor[*certificatesv1.ClusterTrustBundle]()] = bundles
	in.byType[reflect.TypeFor[*certificatesv1beta1.ClusterTrustBundle]()] = bundles.from(func(o Object) Object {
		return stableBundle(o.(*certificatesv1beta1.ClusterTrustBundle))
	})
	in.backendTLS = declare[*gwapiv1.BackendTLSPolicy](&in, g, gwapiv1.GroupName, "BackendTLSPolicy")
	in.budgets = declare[*gwapixv1alpha1.XBackendTrafficPolicy](&in, g, retrybudget.Group, retrybudget.Kind)
	in.certificates = declareWhole[*cmv1.Certificate](&in, g, certmanager.GroupName, cmv1.CertificateKind)
	in.requests = declareWhole[*cmv1.CertificateRequest](&in, g, certmanager.GroupName, cmv1.CertificateRequestKind)
	in.orders = declareWhole[*acmev1.Order](&in, g, acme.GroupName, acmev1.OrderKind)
	in.challenges = declareWhole[*acmev1.Challenge](&in, g, acme.GroupName, acmev1.ChallengeKind)
	in.issuers = declareWhole[*cmv1.Issuer](&in, g, certmanager.GroupName, cmv1.IssuerKind)
	in.clusterIssuers = declareWhole[*cmv1.ClusterIssuer](&in, g, certmanager.GroupName, cmv1.ClusterIssuerKind)
	in.envoyProxies = declare[*v1alpha1.EnvoyProxy](&in, g, v1alpha1.GroupName, "EnvoyProxy")
	in.policies = flow.Input(g, "Policy", sameObject[policies.Object])
	for _, kind := range policies.Kinds {
		in.byType[reflect.TypeOf(kind.New())] = inputOf(in.policies, v1alpha1.GroupName, kind.Kind, func(o Object) string {
			return kind.Kind + "/" + keyOf(o)
		})
	}
	in.lostClasses = flow.Input(g, "Lost class", sameObject[*gwapiv1.GatewayClass])
	in.fleets = flow.Input(g, "Fleet", equalFleets)
	in.proxies = flow.Input(g, "Proxy", equalProxies)
	in.fetched = flow.Input(g, "Fetched content", equalFetched)
	in.served = flow.Input(g, "Served kind", flow.Same[bool])
	in.dropped = flow.Input(g, "Dropped field", flow.Same[bool])
	in.clock = flow.Input(g, "Clock", time.Time.Equal)
	return in
}

func declare[T Object](in *inputs, g *flow.Graph, group, kind string) *flow.Table[T] {
	return declareBy(in, g, group, kind, sameObject[T])
}

// declareWhole is declare for a kind whose status others write and the translation reads.
func declareWhole[T Object](in *inputs, g *flow.Graph, group, kind string) *flow.Table[T] {
	return declareBy(in, g, group, kind, func(a, b T) bool { return sameObject(a, b) && samePart(a, b, "Status") })
}

func declareBy[T Object](in *inputs, g *flow.Graph, group, kind string, same func(a, b T) bool) *flow.Table[T] {
	table := flow.Input(g, kind, same)
	in.byType[reflect.TypeFor[T]()] = inputOf(table, group, kind, keyOf)
	return table
}

func inputOf[T Object](table *flow.Table[T], group, kind string, key func(Object) string) objectInput {
	return objectInput{
		group: group,
		kind:  kind,
		key:   key,
		set:   func(e *flow.Engine, key string, o Object) { flow.Set(e, table, key, o.(T)) },
		del:   func(e *flow.Engine, key string) { flow.Delete(e, table, key) },
		put:   func(o *flow.Oracle, key string, obj Object) { flow.SetOracle(o, table, key, obj.(T)) },
		all: func(r *flow.Read) []Object {
			return convert(table.All(r), func(row flow.Row[T]) Object { return row.Value })
		},
	}
}

// from is the same table for objects of another version of the kind.
func (i objectInput) from(stable func(Object) Object) objectInput {
	other := i
	other.set = func(e *flow.Engine, key string, o Object) { i.set(e, key, stable(o)) }
	other.put = func(o *flow.Oracle, key string, obj Object) { i.put(o, key, stable(obj)) }
	return other
}

// kindServed reports whether the cluster serves a kind that not every cluster does.
func (t *Tables) kindServed(r *flow.Read, kind schema.GroupKind) bool {
	_, ok := t.in.served.Get(r, kind.String())
	return ok
}

// sameObject reports whether both objects mean the same to the translation. An object with a generation is the same
// while its spec and metadata are: what Gatehouse itself writes into a status must not cause more work. The generation
// alone does not show this, because another version of a CRD may show more fields of an object that nobody has changed.
func sameObject[T Object](a, b T) bool {
	if any(a) == any(b) {
		return true
	}
	return a.GetGeneration() != 0 && a.GetGeneration() == b.GetGeneration() && a.GetUID() == b.GetUID() &&
		a.GetDeletionTimestamp().Equal(b.GetDeletionTimestamp()) &&
		maps.Equal(a.GetLabels(), b.GetLabels()) && maps.Equal(a.GetAnnotations(), b.GetAnnotations()) &&
		reflect.DeepEqual(a.GetOwnerReferences(), b.GetOwnerReferences()) && samePart(a, b, "Spec")
}

// samePart compares the specs, or the statuses, of two objects of one kind, if it has any.
func samePart(a, b Object, part string) bool {
	x, y := reflect.ValueOf(a).Elem().FieldByName(part), reflect.ValueOf(b).Elem().FieldByName(part)
	return !x.IsValid() || !y.IsValid() || reflect.DeepEqual(x.Addr().Interface(), y.Addr().Interface())
}
