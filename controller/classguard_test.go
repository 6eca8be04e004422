package controller

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/infra/kubetest"
	"gatehouse/translator"
)

// TestClassInUseIsNotDeleted: a class has the finalizer while Gateways use it, together with those of others, and loses
// it when the last Gateway is deleted. Classes of other controllers are not changed, and a replica that does not lead
// only remembers.
func TestClassInUseIsNotDeleted(t *testing.T) {
	c := server.Client(t)
	guard := NewClassGuard(c, controllerName, logr.Discard())
	create := func(controller string) *gwapiv1.GatewayClass {
		class := &gwapiv1.GatewayClass{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "guarded-", Finalizers: []string{"example.com/other"}},
			Spec:       gwapiv1.GatewayClassSpec{ControllerName: gwapiv1.GatewayController(controller)},
		}
		if err := c.Create(t.Context(), class); err != nil {
			t.Fatal(err)
		}
		return class
	}
	ours, others := create(controllerName), create("example.com/other")
	has := func(class *gwapiv1.GatewayClass, want ...string) func() error {
		return func() error {
			err := c.Get(t.Context(), client.ObjectKeyFromObject(class), class)
			if err == nil && !slices.Equal(class.Finalizers, want) {
				err = fmt.Errorf("GatewayClass %s has finalizers %q, want %q", class.Name, class.Finalizers, want)
			}
			return err
		}
	}
	guard.Set(ours.Name, translator.ClassUsed)
	guard.Set(others.Name, translator.ClassUsed)
	if err := has(ours, "example.com/other")(); err != nil {
		t.Errorf("before it leads: %v", err)
	}
	kubetest.Start(t, func(ctx context.Context) error { return guard.Start(ctx) })
	within(t, has(ours, "example.com/other", gwapiv1.GatewayClassFinalizerGatewaysExist))
	if err := has(others, "example.com/other")(); err != nil {
		t.Error(err)
	}

	if err := c.Delete(t.Context(), ours); err != nil {
		t.Fatal(err)
	}
	lone := ours.DeepCopy()
	lone.Finalizers = []string{gwapiv1.GatewayClassFinalizerGatewaysExist}
	if err := c.Patch(t.Context(), lone, client.MergeFrom(ours)); err != nil {
		t.Fatal(err)
	}
	guard.Set(ours.Name, translator.ClassUsed)
	if err := has(ours, gwapiv1.GatewayClassFinalizerGatewaysExist)(); err != nil {
		t.Errorf("deleted while it is in use: %v", err)
	}
	guard.Set(ours.Name, translator.ClassUnused)
	within(t, func() error {
		if err := has(ours)(); !apierrors.IsNotFound(err) {
			return fmt.Errorf("the class that nobody uses any more is there: %w", err)
		}
		return nil
	})
}

// TestGuardForgetsClasses: a guard knows exactly the classes that exist, whether it leads or not.
func TestGuardForgetsClasses(t *testing.T) {
	guard := NewClassGuard(nil, controllerName, logr.Discard())
	for i := range 1000 {
		name := fmt.Sprintf("class-%d", i)
		guard.Set(name, translator.ClassUsed)
		if i%2 == 0 {
			guard.Set(name, translator.ClassUnused)
		}
		guard.Set(name, translator.ClassGone)
	}
	guard.Set("stays", translator.ClassUnused)
	if len(guard.used) != 1 {
		t.Errorf("the guard knows %d classes of which one exists", len(guard.used))
	}
}

// within waits until the function returns no error, for at most 10 s.
func within(t *testing.T, try func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if err = try(); err == nil {
			return
		}
	}
	t.Fatal(err)
}
