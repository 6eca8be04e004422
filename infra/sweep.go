package infra

import (
	"context"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/config"
	"gatehouse/policies/envoyproxy"
)

// sweep removes the fleets of Gateways that no longer exist. An existing Gateway keeps its fleet, whatever is wrong
// with it.
func (a *Keeper) sweep(ctx context.Context) error {
	found, err := a.list(ctx, envoyproxy.ManagedLabels())
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, o := range found {
		key, owned := envoyproxy.KeyOf(o)
		if !owned || seen[key] {
			continue
		}
		seen[key] = true
		if err := a.sweepOne(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

func (a *Keeper) sweepOne(ctx context.Context, key string) error {
	a.mu.Lock()
	known := a.fleets[key] != nil
	a.mu.Unlock()
	if known {
		return nil
	}
	namespace, name, _ := strings.Cut(key, "/")
	err := a.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &gwapiv1.Gateway{})
	switch {
	case apierrors.IsNotFound(err):
		a.Set(key, nil)
		return nil
	case err != nil:
		return fmt.Errorf("looking for Gateway %s: %w", key, err)
	}
	return nil
}

// scope is the namespace of the fleets, which is empty if they are in several.
func (a *Keeper) scope() (Settings, string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.settings.DeployMode == config.DeployGatewayNamespace {
		return a.settings, ""
	}
	return a.settings, a.settings.ControllerNamespace
}

func ownerLabelsOf(key string) map[string]string {
	namespace, name, _ := strings.Cut(key, "/")
	return envoyproxy.OwnerLabels(namespace, name)
}

// items returns the objects of a list, each with its kind, which lists do not contain.
func (a *Keeper) items(list client.ObjectList) ([]client.Object, error) {
	var objects []client.Object
	err := meta.EachListItem(list, func(item runtime.Object) error {
		o, ok := item.(client.Object)
		if !ok {
			return fmt.Errorf("%T is not an object", item)
		}
		kind, err := a.client.GroupVersionKindFor(o)
		if err != nil {
			return fmt.Errorf("finding the kind of %T: %w", o, err)
		}
		o.GetObjectKind().SetGroupVersionKind(kind)
		objects = append(objects, o)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading %T: %w", list, err)
	}
	return objects, nil
}
