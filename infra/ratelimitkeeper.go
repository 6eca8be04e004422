package infra

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"gatehouse/api/config"
	"gatehouse/translator"
)

// rateLimitInterval is the time between two repairs of the service's objects.
const rateLimitInterval = 30 * time.Second

// RateLimitKeeper keeps the objects of the rate limit service as they should be. It deletes them if the configuration asks
// for no service. It runs only on the leader.
type RateLimitKeeper struct {
	client   client.Client
	settings func() RateLimitSettings
	log      logr.Logger
	changed  chan struct{}
}

// NewRateLimitKeeper returns a keeper that does nothing before Start. It asks for the settings each time.
func NewRateLimitKeeper(c client.Client, settings func() RateLimitSettings, log logr.Logger) *RateLimitKeeper {
	return &RateLimitKeeper{client: c, settings: settings, log: log, changed: make(chan struct{}, 1)}
}

// Changed has the keeper work at once. It never waits.
func (k *RateLimitKeeper) Changed() {
	select {
	case k.changed <- struct{}{}:
	default:
	}
}

// Start works until ctx ends. A failure is logged and tried again.
func (k *RateLimitKeeper) Start(ctx context.Context) error {
	ticker := time.NewTicker(rateLimitInterval)
	defer ticker.Stop()
	for {
		if err := k.Reconcile(ctx); err != nil && ctx.Err() == nil {
			k.log.Error(err, "could not bring the rate limit service up to date; trying again", "after", rateLimitInterval.String())
		}
		select {
		case <-ticker.C:
		case <-k.changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// Reconcile applies the objects of the service, or deletes them.
func (k *RateLimitKeeper) Reconcile(ctx context.Context) error {
	s := k.settings()
	wanted := s.Config != nil
	if !wanted {
		s.Config = &config.RateLimit{} // The names of the objects do not depend on it.
	}
	for _, o := range RateLimitObjects(s) {
		name := nameOf(o)
		live, ours, err := k.live(ctx, name)
		switch {
		case err != nil:
			return err
		case wanted && live != nil && !ours:
			return fmt.Errorf("%w: %s exists, and was not made for the rate limit service: delete it", errTaken, name)
		case wanted:
			err = k.apply(ctx, o)
		case live != nil && ours:
			err = k.delete(ctx, live, name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// live reads an object from the API server, nil if there is none, and reports whether it is one of the service.
func (k *RateLimitKeeper) live(ctx context.Context, name object) (*unstructured.Unstructured, bool, error) {
	live := &unstructured.Unstructured{}
	live.SetAPIVersion(name.apiVersion)
	live.SetKind(name.kind)
	err := k.client.Get(ctx, client.ObjectKey{Namespace: name.namespace, Name: name.name}, live)
	if apierrors.IsNotFound(err) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("reading %s: %w", name, err)
	}
	for label, value := range rateLimitLabels() {
		if live.GetLabels()[label] != value {
			return live, false, nil
		}
	}
	return live, true, nil
}

func (k *RateLimitKeeper) apply(ctx context.Context, o client.Object) error {
	fields, err := fieldsOf(o)
	if err != nil {
		return fmt.Errorf("%s: %w", nameOf(o), err)
	}
	err = k.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(&unstructured.Unstructured{Object: fields}),
		client.FieldOwner(FieldManager), client.ForceOwnership)
	if err != nil {
		return fmt.Errorf("applying %s: %w", nameOf(o), err)
	}
	return nil
}

func (k *RateLimitKeeper) delete(ctx context.Context, live *unstructured.Unstructured, name object) error {
	uid := live.GetUID()
	err := k.client.Delete(ctx, live, client.Preconditions{UID: &uid}, client.PropagationPolicy("Background"))
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("deleting %s: %w", name, err)
	}
	k.log.Info("deleted", "service", translator.RateLimitService, "object", name.String())
	return nil
}
