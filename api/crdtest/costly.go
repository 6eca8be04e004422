package crdtest

import (
	"math/rand/v2"
	"slices"
	"strings"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
)

// Object is any Kubernetes object.
type Object interface {
	metav1.Object
	runtime.Object
}

var scheme = sync.OnceValues(func() (*runtime.Scheme, error) {
	s := runtime.NewScheme()
	if err := gwapiv1.Install(s); err != nil {
		return nil, err
	}
	return s, v1alpha1.AddToScheme(s)
})

// shared are the kinds of costly objects. GatewayClass is not one of them, because all others depend on it.
var shared = sync.OnceValues(func() ([]*Kind, error) {
	known, err := scheme()
	if err != nil {
		return nil, err
	}
	return Kinds(func(gvk schema.GroupVersionKind) bool { return known.Recognizes(gvk) && gvk.Kind != "GatewayClass" })
})

// Costly makes one or two random objects of any kinds, more often routes than others, all with the same name. Grown
// extends their lists and texts; half of the long texts come from the given ones. An error means that the CRDs cannot
// be read.
func Costly(r *rand.Rand, name types.NamespacedName, words map[string][]string, texts []string) (objects []Object,
	err error,
) {
	kinds, err := shared()
	if err != nil {
		return nil, err
	}
	routes := slices.DeleteFunc(slices.Clone(kinds), func(k *Kind) bool { return !strings.HasSuffix(k.Kind, "Route") })
	m := &Maker{Rand: r, Words: words}
	for range 1 + r.IntN(2) {
		kind := pick(m, kinds...)
		if len(objects) == 0 && r.IntN(3) > 0 {
			kind = pick(m, routes...)
		}
		object, err := m.costly(kind, name, texts)
		if err != nil {
			return nil, err
		}
		if object != nil {
			objects = append(objects, object)
		}
	}
	return objects, nil
}

// tries is how many small objects are made until the API server admits one.
const tries = 50

// costly makes an object of a kind; nil if the API server admits none of several.
func (m *Maker) costly(k *Kind, name types.NamespacedName, texts []string) (Object, error) {
	known, err := scheme()
	if err != nil {
		return nil, err
	}
	for range tries {
		small := k.Object(name.Namespace, name.Name, m.Spec(k))
		if !k.AdmitsSome(small) {
			continue
		}
		typed, err := k.Typed(m.Grown(k, small, texts), known)
		if err != nil {
			continue
		}
		o := typed.(Object)
		o.SetUID(types.UID(k.Kind))
		o.SetGeneration(1)
		return o, nil
	}
	return nil, nil
}
