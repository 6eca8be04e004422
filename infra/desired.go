// Package infra runs Envoys in Kubernetes: it computes the objects of each Gateway's fleet (Desired), and keeps the
// objects of the cluster equal to them (Keeper).
package infra

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"gatehouse/api/config"
	"gatehouse/api/v1alpha1"
	"gatehouse/infra/bootstrap"
	"gatehouse/translator"
)

// Settings are the common settings of all fleets.
type Settings struct {
	// ControllerNamespace is where the control plane runs, and where fleets run unless DeployMode says otherwise.
	ControllerNamespace string
	// EnvoyImage is the default image of fleets. GatehouseImage is the image of the sidecar that lets Envoy shut down
	// gracefully.
	EnvoyImage, GatehouseImage string
	// GatehousePullPolicy says when GatehouseImage is pulled; empty leaves it to Kubernetes.
	GatehousePullPolicy corev1.PullPolicy
	// PullSecrets are the default secrets for pulling images, in the control plane's namespace.
	PullSecrets []corev1.LocalObjectReference
	// XDSHost is the name with which Envoys reach the control plane, from XDSHost(). Its certificate contains the name,
	// and it is the audience of the proxies' tokens.
	XDSHost string
	// XDSPort is the port of the control plane's xDS server.
	XDSPort uint32
	// CA are the CA certificates (PEM) of the control plane.
	CA []byte
	// DeployMode says in which namespace a fleet runs: the control plane's (also if empty), or its Gateway's.
	DeployMode config.DeployType
}

// XDSHost is the DNS name of the control plane's Service gatehouse.
func XDSHost(namespace, clusterDomain string) string {
	return "gatehouse." + namespace + ".svc." + clusterDomain
}

// Desired returns the objects of a Gateway's fleet: ServiceAccount, ConfigMap, Deployment or DaemonSet, and Service, in
// the order of their creation. Equal input gives equal objects. It returns an error if a patch of the EnvoyProxy cannot
// be applied, which envoyproxy.Problems reports in advance.
func Desired(req translator.Requirement, s Settings) ([]client.Object, error) {
	f := newPlan(req, s)
	config, err := f.configMap()
	if err != nil {
		return nil, err
	}
	workload, err := f.workload()
	if err != nil {
		return nil, err
	}
	service, err := f.service()
	if err != nil {
		return nil, err
	}
	return []client.Object{f.serviceAccount(), config, workload, service}, nil
}

// Accounts returns the namespace/name of the ServiceAccounts whose tokens authenticate the Gateway's Envoys. While a
// fleet moves to its Gateway's namespace, its Envoys in the control plane's namespace are served until they are gone.
func Accounts(req translator.Requirement, s Settings) []string {
	f := newPlan(req, s)
	own := f.namespace + "/" + f.accountName()
	if !f.besideGateway() {
		return []string{own}
	}
	s.DeployMode = config.DeployControllerNamespace
	before := newPlan(req, s)
	return []string{own, before.namespace + "/" + before.accountName()}
}

// fleetPlan is the requirement of a fleet with values that all its objects need.
type fleetPlan struct {
	translator.Requirement
	settings Settings
	// key is the Gateway's namespace/name; namespace and name are the defaults for the objects.
	key, namespace, name string
	// spec and kubernetes are never nil.
	spec       *v1alpha1.EnvoyProxySpec
	kubernetes *v1alpha1.EnvoyProxyKubernetesProvider
	drain      drain
}

func newPlan(req translator.Requirement, s Settings) *fleetPlan {
	f := &fleetPlan{
		Requirement: req,
		settings:    s,
		key:         req.Gateway.Namespace + "/" + req.Gateway.Name,
		namespace:   s.ControllerNamespace,
		name:        Name(req.Gateway.Namespace, req.Gateway.Name),
		spec:        &v1alpha1.EnvoyProxySpec{},
		kubernetes:  &v1alpha1.EnvoyProxyKubernetesProvider{},
	}
	if f.besideGateway() {
		f.namespace = req.Gateway.Namespace
		if len(validation.IsDNS1035Label(req.Gateway.Name)) == 0 {
			f.name = req.Gateway.Name
		}
	}
	if req.EnvoyProxy != nil {
		f.spec = &req.EnvoyProxy.Spec
		if p := f.spec.Provider; p != nil && p.Kubernetes != nil {
			f.kubernetes = p.Kubernetes
		}
	}
	f.drain = drainOf(f.spec.Shutdown)
	return f
}

// besideGateway reports whether the fleet runs in its Gateway's namespace.
func (f *fleetPlan) besideGateway() bool {
	return f.settings.DeployMode == config.DeployGatewayNamespace
}

func (f *fleetPlan) accountName() string {
	if a := f.kubernetes.EnvoyServiceAccount; a != nil {
		return or(a.Name, f.name)
	}
	return f.name
}

func (f *fleetPlan) serviceAccount() *corev1.ServiceAccount {
	return &corev1.ServiceAccount{
		TypeMeta:                     metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"},
		ObjectMeta:                   f.meta(f.accountName(), nil, nil),
		AutomountServiceAccountToken: new(bool),
	}
}

// configMap has the files that Envoy reads while it runs, so that a new CA restarts nothing.
func (f *fleetPlan) configMap() (*corev1.ConfigMap, error) {
	files, err := bootstrap.Files(f.bootstrap(), f.settings.CA)
	if err != nil {
		return nil, fmt.Errorf("making the files of Gateway %s: %w", f.key, err)
	}
	return &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: f.meta(f.name, nil, nil),
		Data:       files,
	}, nil
}

// or returns the value, or otherwise if it is nil.
func or[T any](value *T, otherwise T) T {
	if value == nil {
		return otherwise
	}
	return *value
}
