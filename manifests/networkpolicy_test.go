package manifests

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/config"
	"gatehouse/infra"
	"gatehouse/translator"
)

// source is who connects to the control plane: a pod with these labels, in its namespace or another one, or an address
// outside of all pods.
type source struct {
	labels    map[string]string
	elsewhere bool
	outside   bool
}

// admits reports whether a NetworkPolicy lets a source reach a port of the control plane.
func admits(t *testing.T, policy *networkingv1.NetworkPolicy, port string, from source) bool {
	t.Helper()
	for _, rule := range policy.Spec.Ingress {
		for _, p := range rule.Ports {
			if p.Port.String() != port {
				continue
			}
			if len(rule.From) == 0 {
				return true
			}
			for _, peer := range rule.From {
				if peered(t, peer, from) {
					return true
				}
			}
		}
	}
	return false
}

func peered(t *testing.T, peer networkingv1.NetworkPolicyPeer, from source) bool {
	t.Helper()
	if peer.IPBlock != nil || from.outside {
		return peer.IPBlock != nil && from.outside
	}
	if from.elsewhere && peer.NamespaceSelector == nil {
		return false
	}
	if peer.PodSelector == nil {
		return true
	}
	selector, err := metav1.LabelSelectorAsSelector(peer.PodSelector)
	if err != nil {
		t.Fatal(err)
	}
	return selector.Matches(labels.Set(from.labels))
}

// envoyLabels are the labels of the pods of a Gateway's fleet.
func envoyLabels(t *testing.T, mode config.DeployType) map[string]string {
	t.Helper()
	objects, err := infra.Desired(translator.Requirement{
		Gateway: &gwapiv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}},
		Ports:   []translator.Port{{Name: "http-80", Port: 80, Target: 10080, Protocol: corev1.ProtocolTCP}},
	}, infra.Settings{ControllerNamespace: "gatehouse-system", DeployMode: mode})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		if d, ok := o.(*appsv1.Deployment); ok {
			return d.Spec.Template.Labels
		}
	}
	t.Fatal("a fleet has no Deployment")
	return nil
}

// TestNetworkPolicy: each port of the control plane is open to who needs it, and to nobody else.
func TestNetworkPolicy(t *testing.T) {
	own := map[string]string{"app.kubernetes.io/name": "gatehouse", "app.kubernetes.io/instance": "gatehouse"}
	somebody := source{labels: map[string]string{"app": "somebody"}, elsewhere: true}
	for name, c := range map[string]struct {
		values []string
		open   map[string][]source
		shut   map[string][]source
	}{
		"default": {
			open: map[string][]source{
				"xds": {{labels: envoyLabels(t, config.DeployControllerNamespace)}}, "webhook": {{outside: true}, {labels: own}},
				"metrics": {somebody},
			},
			shut: map[string][]source{
				"xds": {
					somebody,
					{labels: map[string]string{"app": "beside"}},
					{outside: true},
					{labels: envoyLabels(t, config.DeployGatewayNamespace), elsewhere: true},
				},
				"metrics": {{outside: true}}, "health": {somebody, {outside: true}},
			},
		},
		"beside Gateways": {
			values: []string{"--set=config.envoyGateway.provider.kubernetes.deploy.type=GatewayNamespace"},
			open: map[string][]source{"xds": {
				{labels: envoyLabels(t, config.DeployGatewayNamespace), elsewhere: true},
				{labels: envoyLabels(t, config.DeployControllerNamespace)},
			}},
			shut: map[string][]source{"xds": {somebody, {outside: true}}},
		},
		"known addresses of the API server, no metrics": {
			values: []string{
				"--set=networkPolicy.apiServerCIDRs={192.0.2.0/24,2001:db8::/64}",
				"--set-json=networkPolicy.metricsFrom=[]",
			},
			open: map[string][]source{"webhook": {{outside: true}, {labels: own}}},
			shut: map[string][]source{"webhook": {somebody, {labels: own, elsewhere: true}}, "metrics": {somebody}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var policy *networkingv1.NetworkPolicy
			for _, obj := range decode(t, helmTemplate(t, "gatehouse", c.values...)) {
				if p, ok := obj.(*networkingv1.NetworkPolicy); ok {
					policy = p
				}
			}
			if policy == nil {
				t.Fatal("the chart has no NetworkPolicy")
			}
			selector, err := metav1.LabelSelectorAsSelector(&policy.Spec.PodSelector)
			if err != nil || !selector.Matches(labels.Set(own)) {
				t.Errorf("the policy is about %v: %v", policy.Spec.PodSelector, err)
			}
			for want, ports := range map[bool]map[string][]source{true: c.open, false: c.shut} {
				for port, sources := range ports {
					for _, from := range sources {
						if got := admits(t, policy, port, from); got != want {
							t.Errorf("port %s is open to %+v: %t, want %t", port, from, got, want)
						}
					}
				}
			}
		})
	}
}
