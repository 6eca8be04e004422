package kube

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/translator"
)

const gatewayDefinition = "gateways." + gwapiv1.GroupName

// After a change of a CRD, an API server stores objects with the old schema for a while. A status with a new field that
// is written in this time loses the field. So a change takes effect after schemaDelay.
const schemaDelay = 2 * time.Second

// compareFields reports which of the optional fields of Gateways the CRD drops, and which it stores. Without the CRD
// nothing changes.
func (w *Watcher) compareFields(ctx context.Context) error {
	crd := &apiextensionsv1.CustomResourceDefinition{}
	err := w.Reader.Get(ctx, client.ObjectKey{Name: gatewayDefinition}, crd)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("read CRD %s: %w", gatewayDefinition, err)
	}
	if !apierrors.IsNotFound(err) {
		var events []translator.Event
		var dropped []translator.Field
		for _, field := range translator.Fields {
			has := hasField(crd, field)
			events = append(events, translator.Event{Dropped: &field, Deleted: has})
			if !has {
				dropped = append(dropped, field)
			}
		}
		w.Put(events...)
		if len(dropped) > 0 {
			w.Log.Info("the CRD of Gateways does not have some fields; the features that need them are not listed", "fields",
				dropped)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.compared = true
	return nil
}

// hasField reports whether the CRD stores the field in the version that is read.
func hasField(crd *apiextensionsv1.CustomResourceDefinition, field translator.Field) bool {
	i := slices.IndexFunc(crd.Spec.Versions, func(v apiextensionsv1.CustomResourceDefinitionVersion) bool {
		return v.Name == gwapiv1.GroupVersion.Version
	})
	if i < 0 || crd.Spec.Versions[i].Schema == nil || crd.Spec.Versions[i].Schema.OpenAPIV3Schema == nil {
		return false
	}
	at := *crd.Spec.Versions[i].Schema.OpenAPIV3Schema
	for name := range strings.SplitSeq(string(field), ".") {
		if at.Items != nil && at.Items.Schema != nil {
			at = *at.Items.Schema
		}
		next, ok := at.Properties[name]
		if !ok {
			return false
		}
		at = next
	}
	return true
}
