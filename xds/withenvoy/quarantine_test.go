//go:build gatehousedebug

package withenvoy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/controller"
	"gatehouse/infra/envoytest"
	"gatehouse/policies/rules"
	"gatehouse/translator"
)

const controllerName = "gateway.envoyproxy.io/gatewayclass-controller"

// judged is an Envoy whose configuration is translated from objects, and that reports its rejections to the
// translation.
type judged struct {
	*controlled
	loop       *controller.Controller
	generation int64

	mu       sync.Mutex
	statuses map[string]*translator.Status
}

// judge starts a Gateway with a plain and a TLS listener, a Service, and routes "good" and "victim" with their own
// hosts.
func judge(t *testing.T) *judged {
	t.Helper()
	engine, err := rules.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	s := &judged{controlled: start(t), statuses: map[string]*translator.Status{}}
	s.loop = controller.New(translator.NewWorld(translator.NewTables(translator.Settings{ControllerName: controllerName},
		engine)), controller.Outlets{
		Publish: s.server.Publish, Synced: s.server.Synced, Infrastructure: func(string, *translator.Requirement) {},
		Class: func(string, translator.ClassUse) {},
		Status: func(status *translator.Status) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.statuses[fmt.Sprintf("%T %s", status.Object, status.Object.GetName())] = status
		},
	}, nil, logr.Discard())
	s.put(
		&gwapiv1.GatewayClass{
			ObjectMeta: metav1.ObjectMeta{Name: "c"},
			Spec:       gwapiv1.GatewayClassSpec{ControllerName: controllerName},
		},
		s.gateway(""), s.secret(""), service("a"), service("b"), s.slice("a"), s.slice("b"), s.route("good", "a", ""),
		s.route("victim", "b", ""),
	)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.loop.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	s.controlled.mu.Lock()
	s.hear = func(p translator.Proxy, connected bool) { s.loop.Put(translator.Event{Proxy: &p, Deleted: !connected}) }
	s.controlled.mu.Unlock()
	s.answers("good", http.StatusOK)
	s.answers("victim", http.StatusOK)
	return s
}

// put stores objects as the API server does: with a new generation.
func (s *judged) put(objects ...translator.Object) {
	for _, o := range objects {
		s.generation++
		o.SetGeneration(s.generation)
		s.loop.Put(translator.Event{Object: o})
	}
}

func meta(name, sabotage string) metav1.ObjectMeta {
	m := metav1.ObjectMeta{Namespace: "shop", Name: name}
	if sabotage != "" {
		m.Annotations = map[string]string{"debug.gatehouse.dev/break": sabotage}
	}
	return m
}

func ptr[T any](v T) *T { return &v }

func (s *judged) gateway(sabotage string) *gwapiv1.Gateway {
	return &gwapiv1.Gateway{ObjectMeta: meta("web", sabotage), Spec: gwapiv1.GatewaySpec{
		GatewayClassName: "c",
		Listeners: []gwapiv1.Listener{
			{Name: "http", Protocol: gwapiv1.HTTPProtocolType, Port: 80},
			{
				Name: "one", Protocol: gwapiv1.HTTPSProtocolType, Port: 443, Hostname: ptr(gwapiv1.Hostname("victim.example.com")),
				TLS: certificateOf("tls"),
			},
			{
				Name: "two", Protocol: gwapiv1.HTTPSProtocolType, Port: 443, Hostname: ptr(gwapiv1.Hostname("good.example.com")),
				TLS: certificateOf("tls-good"),
			},
		},
	}}
}

func certificateOf(secret gwapiv1.ObjectName) *gwapiv1.ListenerTLSConfig {
	return &gwapiv1.ListenerTLSConfig{CertificateRefs: []gwapiv1.SecretObjectReference{{Name: secret}}}
}

// secret is the certificate of the victim, optionally broken; a good one comes together with a good one for the other
// listener.
func (s *judged) secret(sabotage string) *corev1.Secret {
	if sabotage == "" {
		s.put(s.certificate("tls-good", "good.example.com", ""))
	}
	return s.certificate("tls", "victim.example.com", sabotage)
}

// certificate is a Secret with a certificate for a host.
func (s *judged) certificate(name, host, sabotage string) *corev1.Secret {
	_, leaf := certificates(s.t, host)
	key, err := x509.MarshalPKCS8PrivateKey(leaf.PrivateKey)
	if err != nil {
		s.t.Fatal(err)
	}
	return &corev1.Secret{ObjectMeta: meta(name, sabotage), Type: corev1.SecretTypeTLS, Data: map[string][]byte{
		"tls.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Certificate[0]}),
		"tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
	}}
}

func service(name string) *corev1.Service {
	return &corev1.Service{ObjectMeta: meta(name, ""), Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{
		Name: "http",
		Port: 80,
	}}}}
}

func (s *judged) slice(name string) *discoveryv1.EndpointSlice {
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: meta(name, ""), AddressType: discoveryv1.AddressTypeIPv4,
		Ports:     []discoveryv1.EndpointPort{{Name: ptr("http"), Port: ptr(int32(backend(s.t, name)))}},
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"127.0.0.1"}}},
	}
	slice.Labels = map[string]string{discoveryv1.LabelServiceName: name}
	return slice
}

func (s *judged) route(name, service, sabotage string) *gwapiv1.HTTPRoute {
	route := &gwapiv1.HTTPRoute{ObjectMeta: meta(name, sabotage)}
	route.Spec.ParentRefs = []gwapiv1.ParentReference{{Name: "web"}}
	route.Spec.Hostnames = []gwapiv1.Hostname{gwapiv1.Hostname(name + ".example.com")}
	ref := gwapiv1.HTTPBackendRef{}
	ref.Name, ref.Port = gwapiv1.ObjectName(service), ptr(gwapiv1.PortNumber(80))
	route.Spec.Rules = []gwapiv1.HTTPRouteRule{{BackendRefs: []gwapiv1.HTTPBackendRef{ref}}}
	return route
}

// policy shapes the cluster of route victim.
func (s *judged) policy(sabotage string) *v1alpha1.BackendTrafficPolicy {
	p := &v1alpha1.BackendTrafficPolicy{ObjectMeta: meta("p", sabotage)}
	target := gwapiv1.LocalPolicyTargetReferenceWithSectionName{}
	target.Group, target.Kind, target.Name = gwapiv1.GroupName, "HTTPRoute", "victim"
	p.Spec.TargetRefs = []gwapiv1.LocalPolicyTargetReferenceWithSectionName{target}
	p.Spec.LoadBalancer = &v1alpha1.LoadBalancer{Type: v1alpha1.RandomLoadBalancerType}
	return p
}

// statusOf sends a request for a route's host.
func statusOf(name string) int {
	request, err := http.NewRequest(http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/", proxyPort), nil)
	if err != nil {
		return 0
	}
	request.Host = name + ".example.com"
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode
}

func (s *judged) answers(name string, want int) {
	s.t.Helper()
	got := 0
	envoytest.WaitFor(s.t, fmt.Sprintf("%s to answer %d", name, want), func() bool {
		got = statusOf(name)
		return got == want
	})
}

// secured reports whether a TLS handshake for a route's host succeeds.
func secured(name string) bool {
	conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", proxyPort-80+443),
		&tls.Config{ServerName: name + ".example.com", InsecureSkipVerify: true})
	if err != nil {
		return false
	}
	return conn.Close() == nil
}

// says waits until an object's problems contain Envoy's message about a field; with an empty text, until there is none.
func (s *judged) says(object, field, words string) {
	s.t.Helper()
	envoytest.WaitFor(s.t, object+" to say at "+field+" "+words, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		status := s.statuses[object]
		if words == "" {
			return status != nil && len(status.Problems) == 0
		}
		for _, p := range status.Problems {
			if p.Field == field && strings.Contains(p.Message, words) {
				return true
			}
		}
		return false
	})
}

// unharmed sends requests to the good route until the end, and then checks that a new route is served.
func (s *judged) unharmed() (end func()) {
	stop, failed := make(chan struct{}), make(chan int, 1)
	go func() {
		bad := 0
		for {
			select {
			case <-stop:
				failed <- bad
				return
			default:
				if statusOf("good") != http.StatusOK {
					bad++
				}
			}
		}
	}()
	return func() {
		s.t.Helper()
		s.put(s.route("later", "a", ""))
		s.answers("later", http.StatusOK)
		close(stop)
		if bad := <-failed; bad > 0 {
			s.t.Errorf("%d requests of another route failed", bad)
		}
	}
}

// TestQuarantine: a resource that passes our checks but that Envoy rejects fails closed alone, with Envoy's message.
// Everything else continues and can be changed. After its owner is changed, it is tried again.
func TestQuarantine(t *testing.T) {
	t.Run("route", func(t *testing.T) {
		s := judge(t)
		end := s.unharmed()
		s.put(s.route("victim", "b", "true"))
		s.says("*v1.HTTPRoute victim", "spec.rules[0]", "invalid perl operator")
		s.answers("victim", http.StatusInternalServerError)
		end()
		s.put(s.route("victim", "b", ""))
		s.answers("victim", http.StatusOK)
		s.says("*v1.HTTPRoute victim", "", "")
	})
	t.Run("many routes", func(t *testing.T) {
		s := judge(t)
		end := s.unharmed()
		const many = 60
		for i := range many {
			s.put(s.route(fmt.Sprint("many", i), "b", "true"))
		}
		end()
		for i := range many {
			s.says(fmt.Sprint("*v1.HTTPRoute many", i), "spec.rules[0]", "invalid perl operator")
			s.answers(fmt.Sprint("many", i), http.StatusInternalServerError)
		}
		if rejected := s.stat("http.[^/]*rds.shop/web/http.update_rejected"); rejected == 0 || rejected > 2*many {
			t.Errorf("%d routes cost %d rejections", many, rejected)
		}
	})
	t.Run("match", func(t *testing.T) {
		s := judge(t)
		end := s.unharmed()
		s.put(s.route("victim", "b", "match"), s.route("third", "b", ""))
		s.says("*v1.HTTPRoute victim", "spec.rules[0]", "invalid perl operator")
		s.answers("victim", http.StatusNotFound) // A request that cannot be matched cannot be answered.
		s.answers("third", http.StatusOK)
		end()
		s.put(s.route("victim", "b", ""))
		s.answers("victim", http.StatusOK)
	})
	t.Run("cluster", func(t *testing.T) {
		s := judge(t)
		end := s.unharmed()
		s.put(s.policy("true"))
		s.says("*v1.HTTPRoute victim", "spec.rules[0]", "nobody.has.this")
		s.answers("victim", http.StatusInternalServerError)
		end()
		s.put(s.policy(""))
		s.answers("victim", http.StatusOK)
	})
	t.Run("listener", func(t *testing.T) {
		s := judge(t)
		envoytest.WaitFor(t, "both TLS listeners", func() bool { return secured("victim") && secured("good") })
		end := s.unharmed()
		s.put(s.gateway("one"))
		s.says("*v1.Gateway web", "spec.listeners[1]", "nobody.has.this")
		envoytest.WaitFor(t, "the rejected listener to go", func() bool { return !secured("victim") && secured("good") })
		end()
		s.put(s.gateway(""))
		envoytest.WaitFor(t, "both TLS listeners again", func() bool { return secured("victim") && secured("good") })
	})
	t.Run("second listener of a port", func(t *testing.T) {
		s := judge(t)
		envoytest.WaitFor(t, "both TLS listeners", func() bool { return secured("victim") && secured("good") })
		s.put(s.gateway("two"))
		s.says("*v1.Gateway web", "spec.listeners[2]", "nobody.has.this")
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, p := range s.statuses["*v1.Gateway web"].Problems {
			if strings.Contains(p.Message, "web/one") {
				t.Errorf("it is told of another listener, by which Envoy knows the port: %s", p)
			}
		}
	})
	t.Run("certificate", func(t *testing.T) {
		s := judge(t)
		envoytest.WaitFor(t, "both TLS listeners", func() bool { return secured("victim") && secured("good") })
		end := s.unharmed()
		s.put(s.secret("true"))
		s.says("*v1.Gateway web", "spec.listeners[1].tls.certificateRefs[0]", "rejected by Envoy")
		if !secured("victim") || !secured("good") {
			t.Error("a certificate that was served is not any more")
		}
		end()
		s.put(s.secret(""))
		s.says("*v1.Gateway web", "", "")
	})
	t.Run("filters of a policy", func(t *testing.T) {
		s := judge(t)
		s.put(s.admission("Gateway", "web", "10.0.0.0/8", ""))
		s.answers("victim", http.StatusForbidden)
		s.put(s.admission("HTTPRoute", "good", "127.0.0.0/8", ""), s.admission("HTTPRoute", "later", "127.0.0.0/8", ""))
		s.answers("good", http.StatusOK)
		// Envoy rejects the same bytes twice, the second time after better ones.
		for _, route := range []string{"third", "fourth"} {
			end := s.unharmed()
			s.put(s.admission("Gateway", "web", "10.0.0.0/8", "filters"), s.route(route, "b", ""))
			s.says("*v1.HTTPRoute victim", "spec.rules[0]", "nobody.has.this")
			s.answers("victim", http.StatusInternalServerError)
			s.answers(route, http.StatusInternalServerError)
			end()
			s.put(s.admission("Gateway", "web", "127.0.0.0/8", ""))
			s.answers("victim", http.StatusOK)
			s.answers(route, http.StatusOK)
			s.says("*v1.HTTPRoute victim", "", "")
		}
	})
	t.Run("filters of a policy where there was none", func(t *testing.T) {
		s := judge(t)
		s.put(s.admission("HTTPRoute", "good", "127.0.0.0/8", ""), s.admission("HTTPRoute", "later", "127.0.0.0/8", ""))
		end := s.unharmed()
		served := make(chan bool)
		go func() { // A route that comes with the policy is never served without it.
			defer close(served)
			for range 300 {
				if statusOf("third") == http.StatusOK {
					served <- true
					return
				}
			}
		}()
		s.put(s.admission("Gateway", "web", "127.0.0.0/8", "filters"), s.route("third", "b", ""))
		s.answers("third", http.StatusInternalServerError)
		s.answers("victim", http.StatusInternalServerError)
		if <-served {
			t.Error("a new route was served before Envoy had its policy")
		}
		end()
	})
}

// admission lets clients of a range in, on a target of which it has the name.
func (s *judged) admission(kind gwapiv1.Kind, target gwapiv1.ObjectName, clients v1alpha1.CIDR,
	sabotage string,
) *v1alpha1.SecurityPolicy {
	p := &v1alpha1.SecurityPolicy{ObjectMeta: meta(string(target), sabotage)}
	ref := gwapiv1.LocalPolicyTargetReferenceWithSectionName{}
	ref.Group, ref.Kind, ref.Name = gwapiv1.GroupName, kind, target
	p.Spec.TargetRefs = []gwapiv1.LocalPolicyTargetReferenceWithSectionName{ref}
	p.Spec.Authorization = &v1alpha1.Authorization{Rules: []v1alpha1.AuthorizationRule{
		{Action: v1alpha1.AuthorizationActionAllow, Principal: &v1alpha1.Principal{ClientCIDRs: []v1alpha1.CIDR{clients}}},
	}}
	return p
}
