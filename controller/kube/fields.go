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

// An API server stores objects by the schema of a CRD that has changed only after a while. Statuses with a new field that are written before
// lose it. So a change counts after schemaDelay.
const schemaDelay = 2 * time.Second

// compareFields tells which of the fields of Gateways that not every CRD has are dropped, and which are not. Without the CRD nothing changes.
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
			w.Log.Info("the CRD of Gateways does not have some fields; the features that need them are not listed", "fields", dropped)
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
