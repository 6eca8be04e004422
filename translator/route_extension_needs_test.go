package translator

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies"
)

// TestNeedsOfHTTPRouteFilters has a rule and a backend that refer to an HTTPRouteFilter with a credential. While its
// Secret is missing, has no credential or one that no header can have, or while the filter itself is missing, no request
// is forwarded, because it would come to the backend without the credential.
func TestNeedsOfHTTPRouteFilters(t *testing.T) {
	filter := &v1alpha1.HTTPRouteFilter{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "key", Generation: 1}}
	filter.Spec.CredentialInjection = &v1alpha1.HTTPCredentialInjectionFilter{}
	filter.Spec.CredentialInjection.Credential.ValueRef.Name = "key"
	if needs := policies.NeedsOfFilter(filter); len(needs) != 1 {
		t.Fatalf("the filter needs %d objects", len(needs))
	}
	for where, refer := range map[string]func(*gwapiv1.HTTPRouteRule, gwapiv1.HTTPRouteFilter){
		"rule": func(rule *gwapiv1.HTTPRouteRule, f gwapiv1.HTTPRouteFilter) { rule.Filters = append(rule.Filters, f) },
		"backend": func(rule *gwapiv1.HTTPRouteRule, f gwapiv1.HTTPRouteFilter) {
			rule.BackendRefs[0].Filters = append(rule.BackendRefs[0].Filters, f)
		},
	} {
		t.Run(where, func(t *testing.T) { credentialFailsClosed(t, filter, refer) })
	}
}

func credentialFailsClosed(t *testing.T, filter *v1alpha1.HTTPRouteFilter,
	refer func(*gwapiv1.HTTPRouteRule, gwapiv1.HTTPRouteFilter),
) {
	w := newWorld(t)
	for _, o := range decode(t, []byte(protected)) {
		if route, ok := o.(*gwapiv1.HTTPRoute); ok {
			refer(&route.Spec.Rules[0], gwapiv1.HTTPRouteFilter{
				Type: gwapiv1.HTTPRouteFilterExtensionRef,
				ExtensionRef: &gwapiv1.LocalObjectReference{
					Group: v1alpha1.GroupName, Kind: v1alpha1.KindHTTPRouteFilter, Name: "key",
				},
			})
		}
		change(t, w, o, false)
	}
	good := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "key"}}
	good.Data = map[string][]byte{"credential": []byte("Bearer t0ken")}
	other, broken := good.DeepCopy(), good.DeepCopy()
	other.Data = map[string][]byte{"password": []byte("Bearer t0ken")}
	broken.Data["credential"] = []byte("Bearer t0ken\n")
	steps := []struct {
		what   string
		object Object
		gone   bool
		served bool
	}{
		{"no filter", good, false, false},
		{"all there", filter, false, true},
		{"no Secret", good, true, false},
		{"a Secret without credential", other, false, false},
		{"a credential of two lines", broken, false, false},
		{"a good Secret", good, false, true},
		{"no filter any more", filter, true, false},
	}
	for _, step := range steps {
		change(t, w, step.object, step.gone)
		if served := forwards(t, w, "shop/web"); served != step.served {
			t.Errorf("%s: requests are forwarded: %t", step.what, served)
		}
	}
}
