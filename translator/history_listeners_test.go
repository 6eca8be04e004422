package translator

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

func (h *history) listenerSet() Object {
	s := &gwapiv1.ListenerSet{ObjectMeta: h.meta(h.namespace(), pick(h, "ls1", "ls2"))}
	s.Spec.ParentRef = gwapiv1.ParentGatewayReference{
		Name: gwapiv1.ObjectName(pick(h, "g1", "g1", "g2", "g3")), Namespace: maybe(h, gwapiv1.Namespace(h.namespace())),
		Kind: maybe(h, pick[gwapiv1.Kind](h, "Gateway", "Gateway", "Other")),
	}
	if h.IntN(3) == 0 {
		s.Annotations = h.issued()
	}
	for _, l := range h.listeners() {
		s.Spec.Listeners = append(s.Spec.Listeners, gwapiv1.ListenerEntry(l))
	}
	return s
}

func (h *history) listeners() (listeners []gwapiv1.Listener) {
	for i := range 1 + h.IntN(3) {
		l := gwapiv1.Listener{
			Name: gwapiv1.SectionName(fmt.Sprintf("l%d", i)),
			Port: pick[int32](h, 80, 80, 443, 8080, 10080, 10443, 19001),
			Protocol: pick(h, gwapiv1.HTTPProtocolType, gwapiv1.HTTPProtocolType, gwapiv1.HTTPSProtocolType,
				gwapiv1.TLSProtocolType, gwapiv1.TCPProtocolType, gwapiv1.UDPProtocolType, "SCTP"),
		}
		l.Hostname = maybe(h, gwapiv1.Hostname(h.hostname()))
		if l.Protocol == gwapiv1.HTTPSProtocolType || l.Protocol == gwapiv1.TLSProtocolType {
			l.TLS = &gwapiv1.ListenerTLSConfig{CertificateRefs: []gwapiv1.SecretObjectReference{{
				Name:      "s",
				Namespace: h.elsewhere(),
			}}}
		}
		if l.Protocol == gwapiv1.TLSProtocolType {
			l.TLS.Mode = pick(h, ptr(gwapiv1.TLSModeTerminate), ptr(gwapiv1.TLSModePassthrough))
		}
		if h.IntN(2) == 0 {
			l.AllowedRoutes = &gwapiv1.AllowedRoutes{Namespaces: &gwapiv1.RouteNamespaces{
				From:     pick(h, ptr(gwapiv1.NamespacesFromAll), ptr(gwapiv1.NamespacesFromSelector)),
				Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": pick(h, "a", "a", "not a label")}},
			}}
		}
		if h.IntN(4) == 0 {
			l.Filters = h.listenerFilters()
		}
		listeners = append(listeners, l)
	}
	return listeners
}

func (h *history) listenerFilters() *gwapiv1.ListenerFilters {
	filters := &gwapiv1.ListenerFilters{}
	for range h.IntN(3) {
		f := gwapiv1.ListenerFilter{Type: gwapiv1.ListenerFilterExternalAuth, ExternalAuth: h.externalAuth().ExternalAuth}
		if h.IntN(6) == 0 {
			f = gwapiv1.ListenerFilter{
				Type:         gwapiv1.ListenerFilterExtensionRef,
				ExtensionRef: &gwapiv1.LocalObjectReference{Group: "example.com", Kind: "Claims", Name: "c"},
			}
		}
		filters.Requests = append(filters.Requests, f)
	}
	return filters
}
