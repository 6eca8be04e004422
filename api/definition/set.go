package definition

import (
	"fmt"
	"sync"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Set are the CRDs of a cluster. Versions are compiled when they are asked for the first time. It is safe for concurrent
// use.
type Set struct {
	crds map[schema.GroupKind]*apiextensionsv1.CustomResourceDefinition

	mu    sync.Mutex
	kinds map[schema.GroupVersionKind]*Kind
}

// NewSet returns a set of CRDs. Of two CRDs of a kind, the later one counts.
func NewSet(crds ...*apiextensionsv1.CustomResourceDefinition) *Set {
	s := &Set{
		crds:  map[schema.GroupKind]*apiextensionsv1.CustomResourceDefinition{},
		kinds: map[schema.GroupVersionKind]*Kind{},
	}
	for _, crd := range crds {
		s.crds[schema.GroupKind{Group: crd.Spec.Group, Kind: crd.Spec.Names.Kind}] = crd
	}
	return s
}

// Defines reports whether the kind has a CRD in the set.
func (s *Set) Defines(kind schema.GroupKind) bool { return s.crds[kind] != nil }

// DefinesGroup reports whether a kind of the group has a CRD in the set.
func (s *Set) DefinesGroup(group string) bool {
	for kind := range s.crds {
		if kind.Group == group {
			return true
		}
	}
	return false
}

// Versions are the served versions of a kind.
func (s *Set) Versions(kind schema.GroupKind) (served []schema.GroupVersion) {
	if crd := s.crds[kind]; crd != nil {
		for _, version := range crd.Spec.Versions {
			if version.Served {
				served = append(served, schema.GroupVersion{Group: kind.Group, Version: version.Name})
			}
		}
	}
	return served
}

// Kind returns a version of a kind; nil if its CRD does not serve it. An error means that the CRD is broken.
func (s *Set) Kind(gvk schema.GroupVersionKind) (*Kind, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k, ok := s.kinds[gvk]; ok {
		return k, nil
	}
	crd := s.crds[gvk.GroupKind()]
	if crd == nil {
		return nil, nil
	}
	for i := range crd.Spec.Versions {
		version := &crd.Spec.Versions[i]
		if version.Name != gvk.Version || !version.Served {
			continue
		}
		k, err := newKind(crd, version)
		if err != nil {
			return nil, fmt.Errorf("CustomResourceDefinition %s, version %s: %w", crd.Name, version.Name, err)
		}
		s.kinds[gvk] = k
		return k, nil
	}
	return nil, nil
}

// Kinds returns the served versions of the CRDs that are wanted, in the order of the CRDs.
func Kinds(crds []*apiextensionsv1.CustomResourceDefinition, wanted func(schema.GroupVersionKind) bool) ([]*Kind,
	error,
) {
	s := NewSet(crds...)
	var all []*Kind
	for _, crd := range crds {
		for _, version := range crd.Spec.Versions {
			gvk := schema.GroupVersionKind{Group: crd.Spec.Group, Version: version.Name, Kind: crd.Spec.Names.Kind}
			if !version.Served || !wanted(gvk) {
				continue
			}
			k, err := s.Kind(gvk)
			if err != nil {
				return nil, err
			}
			all = append(all, k)
		}
	}
	return all, nil
}
