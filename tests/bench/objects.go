package main

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

func named(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "default", Name: name}
}

func ptr[T any](v T) *T { return &v }

// gateway has a plain listener, with scoped routes or without, and takes ListenerSets.
func gateway(scoped bool) *gwapiv1.Gateway {
	g := &gwapiv1.Gateway{ObjectMeta: named("eg"), Spec: gwapiv1.GatewaySpec{
		GatewayClassName: "eg", Listeners: []gwapiv1.Listener{{Name: "http", Protocol: gwapiv1.HTTPProtocolType, Port: 80}},
		AllowedListeners: &gwapiv1.AllowedListeners{Namespaces: &gwapiv1.ListenerNamespaces{From: ptr(gwapiv1.NamespacesFromSame)}},
	}}
	if scoped {
		g.Annotations = map[string]string{"gatehouse.dev/scoped-routes": "true"}
	}
	return g
}

// service is a Service without a selector, and a slice for each port of the backends that it sends to.
func service(name string, port int32, appProtocol string, backends ...int32) []client.Object {
	s := &corev1.Service{ObjectMeta: named(name), Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{
		Name: "main",
		Port: port,
	}}}}
	if appProtocol != "" {
		s.Spec.Ports[0].AppProtocol = &appProtocol
	}
	objects := []client.Object{s}
	for i, backend := range backends {
		objects = append(objects, slice(name, i, backend))
	}
	return objects
}

// slice has one of the backends as the endpoint of a Service.
func slice(service string, i int, backend int32) *discoveryv1.EndpointSlice {
	meta := named(fmt.Sprintf("%s-%d", service, i))
	meta.Labels = map[string]string{discoveryv1.LabelServiceName: service}
	return &discoveryv1.EndpointSlice{
		ObjectMeta: meta, AddressType: discoveryv1.AddressTypeIPv4,
		Ports: []discoveryv1.EndpointPort{{Name: ptr("main"), Port: ptr(backend)}},
		Endpoints: []discoveryv1.Endpoint{{
			Addresses:  []string{backendAddress},
			Conditions: discoveryv1.EndpointConditions{Ready: ptr(true)},
		}},
	}
}

// route sends a host of its own to a Service. A path other than / is a regular expression.
func route(name, service, path string) *gwapiv1.HTTPRoute {
	r := &gwapiv1.HTTPRoute{ObjectMeta: named(name)}
	r.Spec.ParentRefs = []gwapiv1.ParentReference{{Name: "eg"}}
	r.Spec.Hostnames = []gwapiv1.Hostname{gwapiv1.Hostname(name + ".example.com")}
	r.Spec.Rules = []gwapiv1.HTTPRouteRule{rule(path, to(service, 1))}
	return r
}

func rule(path string, backends ...gwapiv1.HTTPBackendRef) gwapiv1.HTTPRouteRule {
	kind := gwapiv1.PathMatchPathPrefix
	if path == "/(" {
		kind = gwapiv1.PathMatchRegularExpression
	}
	return gwapiv1.HTTPRouteRule{Matches: []gwapiv1.HTTPRouteMatch{{Path: &gwapiv1.HTTPPathMatch{
		Type:  &kind,
		Value: &path,
	}}}, BackendRefs: backends}
}

// healthPath is the one of the gRPC streams.
const healthPath = "/grpc.health.v1.Health"

// streams is a rule for gRPC streams. Envoy would end them after 15 s without the timeout.
func streams() gwapiv1.HTTPRouteRule {
	r := rule(healthPath, to("grpc", 1))
	r.Timeouts = &gwapiv1.HTTPRouteTimeouts{Request: ptr(gwapiv1.Duration("0s"))}
	return r
}

func to(service string, weight int32) gwapiv1.HTTPBackendRef {
	ref := gwapiv1.HTTPBackendRef{}
	ref.Name, ref.Port, ref.Weight = gwapiv1.ObjectName(service), ptr(gwapiv1.PortNumber(80)), &weight
	return ref
}
