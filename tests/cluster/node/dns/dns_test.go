package dns

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"gatehouse/tests/cluster/node/service"
)

func ptr[T any](v T) *T { return &v }

// newServer returns a server of a namespace with a Service of each kind.
func newServer(t *testing.T) *Server {
	t.Helper()
	s := &Server{
		domain:   "cluster.local",
		services: cache.NewIndexer(cache.MetaNamespaceKeyFunc, nil),
		slices: cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{service.ByService: func(o any) ([]string, error) {
			m := o.(metav1.Object)
			return []string{m.GetNamespace() + "/" + m.GetLabels()[discoveryv1.LabelServiceName]}, nil
		}}),
	}
	ports := []corev1.ServicePort{
		{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP},
		{Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP},
	}
	for _, svc := range []*corev1.Service{
		{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{ClusterIPs: []string{
			"10.96.0.9",
			"fd00:10:96::9",
		}, Ports: ports}},
		{ObjectMeta: metav1.ObjectMeta{Name: "db"}, Spec: corev1.ServiceSpec{ClusterIPs: []string{"None"}, Ports: ports[:1]}},
		{ObjectMeta: metav1.ObjectMeta{Name: "empty"}, Spec: corev1.ServiceSpec{ClusterIPs: []string{"None"}}},
		{ObjectMeta: metav1.ObjectMeta{Name: "other"}, Spec: corev1.ServiceSpec{
			Type:         corev1.ServiceTypeExternalName,
			ExternalName: "example.com",
		}},
	} {
		svc.Namespace = "ns"
		if err := s.services.Add(svc); err != nil {
			t.Fatal(err)
		}
	}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "ns", Name: "db-x",
			Labels: map[string]string{discoveryv1.LabelServiceName: "db"},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports: []discoveryv1.EndpointPort{{
			Name: ptr("http"), Port: ptr(int32(8080)),
			Protocol: ptr(corev1.ProtocolTCP),
		}},
		Endpoints: []discoveryv1.Endpoint{
			{
				Addresses: []string{"10.244.0.3"}, Hostname: ptr("db-0"),
				Conditions: discoveryv1.EndpointConditions{Ready: ptr(true)},
			},
			{Addresses: []string{"10.244.0.2"}},
			{Addresses: []string{"10.244.0.4"}, Conditions: discoveryv1.EndpointConditions{Ready: ptr(false)}},
		},
	}
	second := slice.DeepCopy()
	second.Name, second.AddressType = "db-y", discoveryv1.AddressTypeIPv6
	for i, address := range []string{"fd00:10:244::3", "fd00:10:244::2", "fd00:10:244::4"} {
		second.Endpoints[i].Addresses = []string{address}
	}
	for _, each := range []*discoveryv1.EndpointSlice{slice, second} {
		if err := s.slices.Add(each); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func TestAnswers(t *testing.T) {
	s := newServer(t)
	for question, want := range map[string]string{
		"A web.ns.svc.cluster.local.":                   "10.96.0.9",
		"A WEB.ns.svc.Cluster.local.":                   "10.96.0.9",
		"AAAA web.ns.svc.cluster.local.":                "fd00:10:96::9",
		"AAAA db.ns.svc.cluster.local.":                 "fd00:10:244::2 fd00:10:244::3",
		"AAAA db-0.db.ns.svc.cluster.local.":            "fd00:10:244::3",
		"A fd00-10-244--2.db.ns.svc.cluster.local.":     "",
		"AAAA fd00-10-244--2.db.ns.svc.cluster.local.":  "fd00:10:244::2",
		"AAAA fd00-10-244--7.ns.pod.cluster.local.":     "fd00:10:244::7",
		"A db.ns.svc.cluster.local.":                    "10.244.0.2 10.244.0.3",
		"A db-0.db.ns.svc.cluster.local.":               "10.244.0.3",
		"A 10-244-0-2.db.ns.svc.cluster.local.":         "10.244.0.2",
		"A 10-244-0-4.db.ns.svc.cluster.local.":         "NXDOMAIN",
		"A empty.ns.svc.cluster.local.":                 "",
		"A other.ns.svc.cluster.local.":                 "example.com.",
		"SRV _http._tcp.web.ns.svc.cluster.local.":      "80:web.ns.svc.cluster.local.=10.96.0.9,fd00:10:96::9",
		"SRV _dns._udp.web.ns.svc.cluster.local.":       "53:web.ns.svc.cluster.local.=10.96.0.9,fd00:10:96::9",
		"SRV _dns._tcp.web.ns.svc.cluster.local.":       "NXDOMAIN",
		"SRV _http._tcp.db.ns.svc.cluster.local.":       "8080:10-244-0-2.db.ns.svc.cluster.local.=10.244.0.2 8080:db-0.db.ns.svc.cluster.local.=10.244.0.3,fd00:10:244::3 8080:fd00-10-244--2.db.ns.svc.cluster.local.=fd00:10:244::2",
		"A 10-244-0-7.ns.pod.cluster.local.":            "10.244.0.7",
		"A nonsense.ns.pod.cluster.local.":              "NXDOMAIN",
		"A ns.svc.cluster.local.":                       "",
		"A absent.svc.cluster.local.":                   "NXDOMAIN",
		"A absent.ns.svc.cluster.local.":                "NXDOMAIN",
		"A example.com.":                                "NXDOMAIN",
		"A example.com.ns.svc.cluster.local.":           "NXDOMAIN",
		"A notcluster.local.":                           "NXDOMAIN",
		"A web.ns.svc.cluster.local.svc.cluster.local.": "NXDOMAIN",
	} {
		kind, name, _ := strings.Cut(question, " ")
		query := new(dns.Msg).SetQuestion(name, dns.StringToType[kind])
		if diff := cmp.Diff(want, text(s.answer(query))); diff != "" {
			t.Errorf("%s: %s", question, diff)
		}
	}
}

// text returns what an answer says in short.
func text(answer *dns.Msg) string {
	if answer.Rcode != dns.RcodeSuccess {
		return dns.RcodeToString[answer.Rcode]
	}
	var parts []string
	for _, r := range answer.Answer {
		switch r := r.(type) {
		case *dns.A:
			parts = append(parts, r.A.String())
		case *dns.AAAA:
			parts = append(parts, r.AAAA.String())
		case *dns.CNAME:
			parts = append(parts, r.Target)
		case *dns.SRV:
			var addrs []string
			for _, extra := range answer.Extra {
				if extra.Header().Name == r.Target {
					addrs = append(addrs, dns.Field(extra, 1))
				}
			}
			parts = append(parts, dns.Field(r, 3)+":"+r.Target+"="+strings.Join(addrs, ","))
		}
	}
	return strings.Join(parts, " ")
}

func FuzzLookup(f *testing.F) {
	f.Add("web.ns.svc.cluster.local.")
	f.Add("_http._tcp.db.ns.svc.cluster.local.")
	f.Add("svc.cluster.local")
	f.Fuzz(func(t *testing.T, name string) {
		newServer(t).answer(new(dns.Msg).SetQuestion(name, dns.TypeA))
	})
}
