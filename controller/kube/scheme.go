package kube

import (
	acmev1 "github.com/cert-manager/cert-manager/pkg/apis/acme/v1"
	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
	gwapixv1alpha1 "sigs.k8s.io/gateway-api/apisx/v1alpha1"
	mcsv1alpha1 "sigs.k8s.io/mcs-api/pkg/apis/v1alpha1"

	rulesv1alpha1 "gatehouse/api/rules/v1alpha1"
	"gatehouse/api/v1alpha1"
)

// NewScheme returns a scheme with every kind that the control plane reads or writes.
func NewScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, apiextensionsv1.AddToScheme, gwapiv1.Install, gwapixv1alpha1.Install, mcsv1alpha1.Install,
		v1alpha1.AddToScheme, rulesv1alpha1.AddToScheme, cmv1.AddToScheme, acmev1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			panic(err) // Two types with one kind are a programming error.
		}
	}
	return scheme
}
