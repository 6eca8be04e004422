package offline

import (
	"cmp"
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	kjson "sigs.k8s.io/json"
)

// params are objects among the documents that policies may read as their params.
type params struct {
	review    *review
	documents []document
	kinds     map[schema.GroupVersionKind]*paramsOfKind
}

func newParams(r *review, documents []document) *params {
	return &params{review: r, documents: documents, kinds: map[schema.GroupVersionKind]*paramsOfKind{}}
}

// of returns the objects of a kind. Their defaults are filled in.
func (p *params) of(kind schema.GroupVersionKind) (informers.GenericInformer, meta.RESTScope) {
	defined, err := p.review.definitions.Kind(kind)
	scope := meta.RESTScopeNamespace
	if err == nil && defined != nil && !defined.Namespaced || ClusterScoped(kind.GroupKind()) {
		scope = meta.RESTScopeRoot
	}
	if known := p.kinds[kind]; known != nil {
		return known, scope
	}
	found := &paramsOfKind{store: cache.NewIndexer(cache.MetaNamespaceKeyFunc,
		cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})}
	for _, d := range p.documents {
		param := &unstructured.Unstructured{}
		if d.kind.GroupKind() != kind.GroupKind() || kjson.UnmarshalCaseSensitivePreserveInts(d.raw, &param.Object) != nil {
			continue
		}
		if scope == meta.RESTScopeNamespace {
			param.SetNamespace(cmp.Or(param.GetNamespace(), p.review.Namespace))
		}
		param.SetGroupVersionKind(kind)
		if defined != nil {
			defined.Default(param.Object)
		}
		_ = found.store.Add(param) // The key function returns no error for an object with metadata.
	}
	p.kinds[kind] = found
	return found, scope
}

// paramsOfKind has the objects where the API server has an informer.
type paramsOfKind struct {
	cache.SharedIndexInformer
	store cache.Indexer
}

// Informer implements informers.GenericInformer.
func (p *paramsOfKind) Informer() cache.SharedIndexInformer { return p }

// HasSynced reports that all objects are there.
func (p *paramsOfKind) HasSynced() bool { return true }

// Lister implements informers.GenericInformer.
func (p *paramsOfKind) Lister() cache.GenericLister {
	return cache.NewGenericLister(p.store, schema.GroupResource{Resource: "params"})
}

// namespaces are those among the documents. All others exist too, and have no labels but their name.
type namespaces map[string]*corev1.Namespace

func newNamespaces(documents []document) namespaces {
	all := namespaces{}
	for _, d := range documents {
		namespace := &corev1.Namespace{}
		if d.kind.GroupKind() == (schema.GroupKind{Kind: "Namespace"}) && json.Unmarshal(d.raw, namespace) == nil {
			metav1.SetMetaDataLabel(&namespace.ObjectMeta, corev1.LabelMetadataName, namespace.Name)
			all[namespace.Name] = namespace
		}
	}
	return all
}

// Get implements the lister of client-go.
func (n namespaces) Get(name string) (*corev1.Namespace, error) {
	if known := n[name]; known != nil {
		return known, nil
	}
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: map[string]string{corev1.LabelMetadataName: name},
	}}, nil
}

// List implements the lister of client-go.
func (n namespaces) List(selector labels.Selector) (matching []*corev1.Namespace, err error) {
	for _, each := range n {
		if selector.Matches(labels.Set(each.Labels)) {
			matching = append(matching, each)
		}
	}
	return matching, nil
}
