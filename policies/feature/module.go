package feature

import (
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	modulesv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/dynamic_modules/v3"
	"k8s.io/utils/ptr"

	"gatehouse/api/v1alpha1"
)

// Modules are the shared libraries that the Envoys of a fleet may load.
type Modules []v1alpha1.DynamicModule

// Equal reports whether both are the same. Sources are compared as objects.
func (m Modules) Equal(o Modules) bool {
	return slices.EqualFunc(m, o, func(a, b v1alpha1.DynamicModule) bool {
		return a.Name == b.Name && a.Source == b.Source && ptr.Equal(a.DoNotClose, b.DoNotClose) &&
			ptr.Equal(a.LoadGlobally, b.LoadGlobally)
	})
}

// ModulesOf are those of the settings of a fleet, which may be nil.
func ModulesOf(ep *v1alpha1.EnvoyProxy) Modules {
	if ep == nil {
		return nil
	}
	return ep.Spec.DynamicModules
}

// Load is how Envoy loads the module with a name, nil if the fleet does not have it.
func (m Modules) Load(name string) *modulesv3.DynamicModuleConfig {
	for i := range m {
		if m[i].Name != name || m[i].Source.Local == nil {
			continue
		}
		return &modulesv3.DynamicModuleConfig{
			DoNotClose: ptr.Deref(m[i].DoNotClose, false), LoadGlobally: ptr.Deref(m[i].LoadGlobally, false),
			Module: &corev3.AsyncDataSource{Specifier: &corev3.AsyncDataSource_Local{Local: &corev3.DataSource{
				Specifier: &corev3.DataSource_Filename{Filename: m[i].Source.Local.Path},
			}}},
		}
	}
	return nil
}
