package translator

import (
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
)

// listing is a Backend: endpoints by addresses or by names, or one that is not accepted.
func (h *history) listing() Object {
	b := &v1alpha1.Backend{ObjectMeta: h.meta(h.namespace(), pick(h, "b1", "b2"))}
	b.Spec.Fallback = maybe(h, h.IntN(2) == 0)
	names := h.IntN(3) == 0
	for range 1 + h.IntN(3) {
		e := v1alpha1.BackendEndpoint{Zone: maybe(h, pick(h, "east", "west")), Hostname: maybe(h, "one.example.com")}
		if names {
			e.FQDN = &v1alpha1.FQDNEndpoint{Hostname: pick(h, "a.example.com", "b.example.com.", "c.example.com")}
			e.FQDN.Port = pick[int32](h, 8080, 8080, 9090)
		} else {
			e.IP = &v1alpha1.IPEndpoint{Address: pick(h, "10.1.0.1", "10.1.0.2", "fd00:1::1")}
			e.IP.Port = pick[int32](h, 8080, 8080, 9090)
		}
		b.Spec.Endpoints = append(b.Spec.Endpoints, e)
	}
	if h.IntN(6) == 0 {
		b.Spec.Endpoints = nil
	}
	for range h.IntN(2) * h.IntN(3) {
		protocol := pick(h, v1alpha1.AppProtocolH2C, v1alpha1.AppProtocolWS, v1alpha1.AppProtocolWSS)
		b.Spec.AppProtocols = append(b.Spec.AppProtocols, protocol)
	}
	return b
}

// asListing has one of four references lead to a Backend, which needs no port.
func (h *history) asListing(ref *gwapiv1.BackendObjectReference) {
	if h.IntN(4) == 0 {
		ref.Group, ref.Kind = ptr(gwapiv1.Group(v1alpha1.GroupName)), ptr(gwapiv1.Kind(v1alpha1.KindBackend))
		ref.Name, ref.Port = gwapiv1.ObjectName(pick(h, "b1", "b2")), maybe[int32](h, 80)
	}
}
