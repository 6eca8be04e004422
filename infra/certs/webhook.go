package certs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Inject writes the CA into the webhook configurations of that name. Missing configurations are skipped.
func Inject(ctx context.Context, c client.Client, name string, serving *Serving) error {
	return inject(ctx, c, name, serving.caBundle)
}

func inject(ctx context.Context, c client.Client, name string, bundle []byte) error {
	if name == "" {
		return nil
	}
	meta := metav1.ObjectMeta{Name: name}
	validating := &admissionv1.ValidatingWebhookConfiguration{ObjectMeta: meta}
	mutating := &admissionv1.MutatingWebhookConfiguration{ObjectMeta: meta}
	return errors.Join(
		injectOne(ctx, c, validating, bundle, func() (hooks []hook) {
			for _, w := range validating.Webhooks {
				hooks = append(hooks, hook{w.Name, w.ClientConfig.CABundle})
			}
			return hooks
		}),
		injectOne(ctx, c, mutating, bundle, func() (hooks []hook) {
			for _, w := range mutating.Webhooks {
				hooks = append(hooks, hook{w.Name, w.ClientConfig.CABundle})
			}
			return hooks
		}),
	)
}

// hook is the part of a webhook that matters here.
type hook struct {
	name   string
	bundle []byte
}

// operation is one step of a JSON patch (RFC 6902).
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// injectOne changes the CA bundles that differ, and nothing else. The patch tests the name of each webhook, so that it
// fails instead of changing another one if the list has changed meanwhile.
func injectOne(ctx context.Context, c client.Client, config client.Object, bundle []byte, hooks func() []hook) error {
	name := config.GetName()
	if err := c.Get(ctx, client.ObjectKey{Name: name}, config); apierrors.IsNotFound(err) {
		return nil
	} else if err != nil {
		return fmt.Errorf("reading %T %s: %w", config, name, err)
	}
	var patch []operation
	for i, h := range hooks() {
		if !bytes.Equal(h.bundle, bundle) {
			path := fmt.Sprintf("/webhooks/%d", i)
			patch = append(patch,
				operation{"test", path + "/name", h.name},
				operation{"add", path + "/clientConfig/caBundle", bundle},
			)
		}
	}
	if len(patch) == 0 {
		return nil
	}
	text, err := json.Marshal(patch)
	if err != nil {
		return fmt.Errorf("encoding the patch of %T %s: %w", config, name, err)
	}
	if err := c.Patch(ctx, config, client.RawPatch(types.JSONPatchType, text)); err != nil {
		return fmt.Errorf("telling %T %s the CA: %w", config, name, err)
	}
	return nil
}
