package infra

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"gatehouse/policies/envoyproxy"
)

// mark remembers an apply: what was desired, and what the API server stored.
type mark struct {
	wanted, live [sha256.Size]byte
}

// bring applies an object if the fleet may have it. It returns the current object; nil if it belongs to somebody else.
func (a *Keeper) bring(ctx context.Context, key string, s *state, desired client.Object) (client.Object, error) {
	settings, _ := a.scope()
	if settings.reserved(nameOf(desired)) {
		return nil, nil // The workload that would run as it reports this.
	}
	if err := a.mayRun(ctx, key, s, desired); err != nil {
		return nil, err
	}
	return a.apply(ctx, key, s, desired)
}

// apply applies one object, unless it is known to be up to date. It returns the current object; nil if it belongs to
// somebody else.
func (a *Keeper) apply(ctx context.Context, key string, s *state, desired client.Object) (client.Object, error) {
	name := nameOf(desired)
	live := blank(desired)
	err := a.client.Get(ctx, client.ObjectKeyFromObject(desired), live)
	keepClusterIP(desired, live)
	wanted, failed := fingerprint(desired)
	if failed != nil {
		return nil, fmt.Errorf("%s: %w", name, failed)
	}
	switch {
	case apierrors.IsNotFound(err):
		// A cache may have only the objects of fleets.
		if owned, err := a.free(ctx, key, desired); err != nil || !owned {
			return nil, err
		}
	case err != nil:
		return nil, fmt.Errorf("reading %s: %w", name, err)
	default:
		if owned, err := mayTake(key, live, name); err != nil || !owned {
			return nil, err
		}
		is, err := fingerprint(live)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if s.applied[name] == (mark{wanted, is}) {
			return live, nil
		}
	}
	s.applied[name] = mark{} // The API server may store it even if the request fails.
	if err := a.letScale(ctx, desired); err != nil {
		return nil, err
	}
	applied, err := a.send(ctx, desired)
	if err != nil {
		return nil, err
	}
	is, err := fingerprint(applied)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if applied.GetResourceVersion() != live.GetResourceVersion() {
		a.log.Info("applied", "gateway", key, "object", name.String())
	}
	s.applied[name] = mark{wanted, is}
	return applied, nil
}

// keepClusterIP requests the cluster IP that a Service already has: the API server would reject another one, and with
// it every other change. The status reports the missing address.
func keepClusterIP(desired, live client.Object) {
	wanted, ok := desired.(*corev1.Service)
	is, exists := live.(*corev1.Service)
	if ok && exists && is.Spec.ClusterIP != "" && wanted.Spec.ClusterIP != "" &&
		wanted.Spec.ClusterIP != is.Spec.ClusterIP {
		wanted.Spec.ClusterIP, wanted.Spec.ClusterIPs = "", nil
	}
}

// available reports whether the object, if it runs Envoys, runs all of them.
func available(o client.Object) bool {
	switch w := o.(type) {
	case *appsv1.Deployment:
		return w.Status.ObservedGeneration >= w.Generation && w.Status.AvailableReplicas >= or(w.Spec.Replicas, 1)
	case *appsv1.DaemonSet:
		return w.Status.ObservedGeneration >= w.Generation && w.Status.NumberAvailable > 0 &&
			w.Status.NumberAvailable >= w.Status.DesiredNumberScheduled
	}
	return true
}

// free asks the API server itself whether the object's name may be used.
func (a *Keeper) free(ctx context.Context, key string, desired client.Object) (bool, error) {
	live, err := a.live(ctx, nameOf(desired))
	if err != nil || live == nil {
		return err == nil, err
	}
	return mayTake(key, live, nameOf(desired))
}

// live reads an object from the API server itself; nil if there is none.
func (a *Keeper) live(ctx context.Context, name object) (client.Object, error) {
	live := &unstructured.Unstructured{}
	live.SetAPIVersion(name.apiVersion)
	live.SetKind(name.kind)
	err := a.client.Get(ctx, client.ObjectKey{Namespace: name.namespace, Name: name.name}, live)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	return live, nil
}

// errTaken is the error for an object with a name that the fleet needs, but that belongs to somebody else.
var errTaken = errors.New("the name is taken")

// mayTake reports whether the existing object belongs to the Gateway's fleet. A ServiceAccount of somebody else stays
// as it is, and mayRun decides who may use it; any other object of somebody else is an error.
func mayTake(key string, live client.Object, name object) (bool, error) {
	switch owner, owned := envoyproxy.KeyOf(live); {
	case owned && byLabels(owner) == byLabels(key):
		return true, nil
	case name.kind == "ServiceAccount":
		return false, nil
	case owned:
		return false, fmt.Errorf("%w: %s belongs to Gateway %s: give one of the two another name in its EnvoyProxy", errTaken,
			name, owner)
	}
	return false, fmt.Errorf("%w: %s exists, and was not made for a Gateway: delete it, or choose another name in the EnvoyProxy", errTaken, name)
}

// send applies the object server-side and returns what is stored now.
func (a *Keeper) send(ctx context.Context, desired client.Object) (client.Object, error) {
	fields, err := fieldsOf(desired)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", nameOf(desired), err)
	}
	u := &unstructured.Unstructured{Object: fields}
	if err := a.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner(FieldManager),
		client.ForceOwnership); err != nil {
		return nil, fmt.Errorf("applying %s: %w", nameOf(desired), err)
	}
	applied := blank(desired)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, applied); err != nil {
		return nil, fmt.Errorf("reading what was stored of %s: %w", nameOf(desired), err)
	}
	return applied, nil
}

// blank is an empty object of the same type.
func blank(o client.Object) client.Object {
	fresh, ok := reflect.New(reflect.TypeOf(o).Elem()).Interface().(client.Object)
	if !ok {
		panic(fmt.Sprintf("%T is an object, but its type is not", o))
	}
	fresh.GetObjectKind().SetGroupVersionKind(o.GetObjectKind().GroupVersionKind())
	return fresh
}

// fieldsOf returns the fields that the Keeper sets: it does not set the status, and an empty value is not set.
func fieldsOf(o client.Object) (map[string]any, error) {
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, fmt.Errorf("encoding: %w", err)
	}
	delete(fields, "status")
	unstructured.RemoveNestedField(fields, "metadata", "creationTimestamp")
	unstructured.RemoveNestedField(fields, "spec", "template", "metadata", "creationTimestamp")
	return fields, nil
}

// fingerprint distinguishes objects that differ in more than their status and the API server's bookkeeping.
func fingerprint(o client.Object) ([sha256.Size]byte, error) {
	fields, err := fieldsOf(o)
	if err != nil {
		return [sha256.Size]byte{}, err
	}
	for _, name := range []string{"managedFields", "resourceVersion", "generation"} {
		unstructured.RemoveNestedField(fields, "metadata", name)
	}
	delete(fields, "apiVersion")
	delete(fields, "kind")
	text, err := json.Marshal(fields)
	if err != nil {
		return [sha256.Size]byte{}, fmt.Errorf("encoding: %w", err)
	}
	return sha256.Sum256(text), nil
}

// kinds returns a list for every kind of objects of a fleet, in the order of deletion: the objects that clients connect
// to first.
func kinds() []client.ObjectList {
	return []client.ObjectList{
		&corev1.ServiceList{}, &appsv1.DeploymentList{}, &appsv1.DaemonSetList{}, &corev1.ConfigMapList{},
		&corev1.ServiceAccountList{},
	}
}

// prune deletes the objects of the fleet that are not wanted.
func (a *Keeper) prune(ctx context.Context, key string, s *state, wanted map[object]bool) error {
	found, err := a.list(ctx, client.MatchingLabels(ownerLabelsOf(key)))
	failed := []error{err}
	listed := map[object]bool{}
	for _, o := range found {
		name := nameOf(o)
		listed[name] = true
		if !wanted[name] {
			failed = append(failed, a.delete(ctx, key, s, o))
		}
	}
	for name := range s.applied {
		if !wanted[name] && !listed[name] {
			failed = append(failed, a.deleteUnlisted(ctx, key, s, name))
		}
	}
	err = errors.Join(failed...)
	s.tidy = err == nil
	return err
}

func (a *Keeper) delete(ctx context.Context, key string, s *state, o client.Object) error {
	name, uid := nameOf(o), o.GetUID()
	err := a.client.Delete(ctx, o, client.Preconditions{UID: &uid}, client.PropagationPolicy("Background"))
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("deleting %s: %w", name, err)
	}
	delete(s.applied, name)
	a.log.Info("deleted", "gateway", key, "object", name.String())
	return nil
}

// deleteUnlisted deletes an object that was applied so recently that the cache does not show it yet, if it still
// belongs to the Gateway.
func (a *Keeper) deleteUnlisted(ctx context.Context, key string, s *state, name object) error {
	live, err := a.live(ctx, name)
	if err != nil {
		return err
	}
	if live != nil {
		if owner, owned := envoyproxy.KeyOf(live); owned && byLabels(owner) == byLabels(key) {
			return a.delete(ctx, key, s, live)
		}
	}
	delete(s.applied, name)
	return nil
}

// list finds objects of fleets.
func (a *Keeper) list(ctx context.Context, of client.MatchingLabels) ([]client.Object, error) {
	settings, namespace := a.scope()
	var found []client.Object
	var failed []error
	for _, list := range kinds() {
		if err := a.client.List(ctx, list, of, client.InNamespace(namespace)); err != nil {
			failed = append(failed, fmt.Errorf("listing %T: %w", list, err))
			continue
		}
		objects, err := a.items(list)
		if err != nil {
			failed = append(failed, err)
		}
		for _, o := range objects {
			if _, owned := settings.KeyOf(o); owned {
				found = append(found, o)
			}
		}
	}
	return found, errors.Join(failed...)
}
