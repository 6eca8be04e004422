// Package infra runs Envoys in Kubernetes: it computes the objects of each Gateway's fleet (Desired), and keeps the
// objects of the cluster equal to them (Applier).
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

// Settings are what all fleets share.
type Settings struct {
	// ControllerNamespace is where the control plane runs, and where fleets run unless DeployMode says otherwise.
	ControllerNamespace string
	// EnvoyImage is the image of fleets that name no other, GatehouseImage that of the sidecar which lets Envoy shut down gracefully.
	EnvoyImage, GatehouseImage string
	// GatehousePullPolicy says when the latter is pulled; empty leaves it to Kubernetes.
	GatehousePullPolicy corev1.PullPolicy
	// PullSecrets are what images are pulled with where an EnvoyProxy names none, in the control plane's namespace.
	PullSecrets []corev1.LocalObjectReference
	// XDSHost is the name by which Envoys reach the control plane, as of XDSHost(); its certificate carries it, and it is the audience
	// of the proxies' tokens.
	XDSHost string
	// XDSPort is the port of the control plane's xDS server.
	XDSPort uint32
	// CA are the certificates (PEM) that vouch for the control plane.
	CA []byte
	// DeployMode says in which namespace a fleet runs: the control plane's (also if empty), or its Gateway's.
	DeployMode config.DeployType
}

// XDSHost is the DNS name of the control plane's Service gatehouse.
func XDSHost(namespace, clusterDomain string) string {
	return "gatehouse." + namespace + ".svc." + clusterDomain
}

// Desired are the objects of a Gateway's fleet: ServiceAccount, ConfigMap, Deployment or DaemonSet, and Service, in the order in
// which they are to be made. Equal input gives equal objects. It fails if a patch of the EnvoyProxy cannot be applied, which
// envoyproxy.Problems tells of beforehand.
func Desired(req translator.Requirement, s Settings) ([]client.Object, error) {
	f := newFleet(req, s)
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

// Accounts are the namespace/name of the ServiceAccounts whose tokens the Gateway's Envoys prove themselves with. A fleet that moves to
// its Gateway's namespace is served in the control plane's until it has gone from there.
func Accounts(req translator.Requirement, s Settings) []string {
	f := newFleet(req, s)
	own := f.namespace + "/" + f.accountName()
	if !f.besideGateway() {
		return []string{own}
	}
	s.DeployMode = config.DeployControllerNamespace
	before := newFleet(req, s)
	return []string{own, before.namespace + "/" + before.accountName()}
}

// fleet is a requirement with what follows from it for every object.
type fleet struct {
	translator.Requirement
	settings Settings
	// key is the Gateway's namespace/name; namespace and name are those of the objects that are not named otherwise.
	key, namespace, name string
	// spec and kubernetes are never nil.
	spec       *v1alpha1.EnvoyProxySpec
	kubernetes *v1alpha1.EnvoyProxyKubernetesProvider
	drain      drain
}

func newFleet(req translator.Requirement, s Settings) *fleet {
	f := &fleet{
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

// besideGateway tells that the fleet runs in its Gateway's namespace.
func (f *fleet) besideGateway() bool {
	return f.settings.DeployMode == config.DeployGatewayNamespace
}

func (f *fleet) accountName() string {
	if a := f.kubernetes.EnvoyServiceAccount; a != nil {
		return or(a.Name, f.name)
	}
	return f.name
}

func (f *fleet) serviceAccount() *corev1.ServiceAccount {
	return &corev1.ServiceAccount{
		TypeMeta:                     metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"},
		ObjectMeta:                   f.meta(f.accountName(), nil, nil),
		AutomountServiceAccountToken: new(bool),
	}
}

// configMap holds the files that Envoy reads while it runs, so that a new CA restarts nothing.
func (f *fleet) configMap() (*corev1.ConfigMap, error) {
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

// or is the value, or otherwise if there is none.
func or[T any](value *T, otherwise T) T {
	if value == nil {
		return otherwise
	}
	return *value
}
