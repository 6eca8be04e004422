package feature

import (
	"fmt"
	"slices"

	"k8s.io/utils/ptr"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/verdict"
)

// Backend is what gets requests besides the backends of a rule: one backend, or several that share the requests. They
// are one cluster of Envoy.
type Backend struct {
	Refs []v1alpha1.BackendRef
	// Listed reports whether the field of the need is a list that has the references. Otherwise the field is the only
	// one.
	Listed bool
	// HTTP2 reports whether the backends are spoken to in HTTP/2, whatever their ports say. Nil asks for what the
	// rule's own backends get.
	HTTP2 *bool
	// Settings is how Envoy talks to the backends of a policy's need, and SettingsField is its path, relative to the
	// feature's spec. Nil is for the defaults. A rule has the settings of its own backends instead.
	Settings      *v1alpha1.ClusterSettings
	SettingsField string
}

// OneBackend is the backend that a reference of a filter names.
func OneBackend(ref gwapiv1.BackendObjectReference) *Backend {
	return &Backend{Refs: []v1alpha1.BackendRef{{BackendObjectReference: ref}}}
}

// At is the path of a reference by its index, behind the field of the need.
func (b *Backend) At(i int) string {
	if !b.Listed {
		return ""
	}
	return fmt.Sprintf("[%d]", i)
}

// BackendNeed returns the need of a policy for the backends of a cluster at a path relative to the feature's spec, such
// as extAuth.grpc. A cluster without backends has none.
func BackendNeed(at string, c *v1alpha1.BackendCluster) (Need, bool) {
	switch {
	case len(c.BackendRefs) > 0:
		b := &Backend{Refs: c.BackendRefs, Listed: true, Settings: c.BackendSettings, SettingsField: settingsField(at)}
		return Need{Field: at + ".backendRefs", Backend: b}, true
	case c.BackendRef != nil:
		b := OneBackend(*c.BackendRef)
		b.Settings, b.SettingsField = c.BackendSettings, settingsField(at)
		return Need{Field: at + ".backendRef", Backend: b}, true
	}
	return Need{}, false
}

func settingsField(at string) string { return at + ".backendSettings" }

// CheckBackends finds a cluster without a backend that gets requests.
func CheckBackends(at string, c *v1alpha1.BackendCluster) []verdict.Problem {
	weighs := func(ref v1alpha1.BackendRef) bool { return ptr.Deref(ref.Weight, 1) > 0 }
	switch {
	case len(c.BackendRefs) == 0 && c.BackendRef == nil:
		return []verdict.Problem{Invalid(at+".backendRefs", "a backend is needed: write which one")}
	case len(c.BackendRefs) > 0 && !slices.ContainsFunc(c.BackendRefs, weighs):
		return []verdict.Problem{Invalid(at+".backendRefs",
			"every weight is 0, so no backend is asked: give one of them a weight")}
	}
	return nil
}
