package certs

import (
	"bytes"
	"context"
	"crypto/tls"
	"sync"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Keeper serves the certificate of the Secret to this process, renews it in time, and tells the webhook configurations which CA to
// trust. Every replica has one.
type Keeper struct {
	client  client.Client
	options Options

	mu       sync.RWMutex
	current  *Serving
	onChange []func()
}

// NewKeeper makes or reads the Secret, so that there is a certificate to serve from the start.
func NewKeeper(ctx context.Context, c client.Client, o Options) (*Keeper, error) {
	k := &Keeper{client: c, options: o.withDefaults()}
	return k, k.load(ctx)
}

// load reads, and if need be makes or renews the Secret.
func (k *Keeper) load(ctx context.Context) error {
	k.mu.RLock()
	known := k.current
	k.mu.RUnlock()
	serving, err := ensure(ctx, k.client, k.options, known, false)
	if err != nil {
		return err
	}
	k.take(serving)
	return nil
}

// Start looks after the certificate until ctx ends. A failure is logged and tried again; what was served is served on.
func (k *Keeper) Start(ctx context.Context) error {
	ticker := time.NewTicker(k.options.Interval)
	defer ticker.Stop()
	for {
		err := k.load(ctx)
		if err == nil {
			err = inject(ctx, k.client, k.options.WebhookConfiguration, k.CABundle())
		}
		if err != nil && ctx.Err() == nil {
			k.options.Log.Error(err, "could not look after the serving certificate; trying again", "after", k.options.Interval.String())
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// NeedLeaderElection is false: every replica serves.
func (k *Keeper) NeedLeaderElection() bool { return false }

// Certificate is what to serve with now.
func (k *Keeper) Certificate() *tls.Certificate {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return &k.current.Leaf
}

// CABundle are the certificates (PEM) that clients of this process are to trust.
func (k *Keeper) CABundle() []byte {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.current.CABundle()
}

// OnChange calls f after each change of the CA bundle from now on. It may be called from any goroutine.
func (k *Keeper) OnChange(f func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.onChange = append(k.onChange, f)
}

func (k *Keeper) take(serving *Serving) {
	k.mu.Lock()
	old := k.current
	k.current = serving
	var calls []func()
	if old != nil && !bytes.Equal(old.caBundle, serving.caBundle) {
		calls = append(calls, k.onChange...)
	}
	k.mu.Unlock()
	if old == nil || !bytes.Equal(old.Leaf.Certificate[0], serving.Leaf.Certificate[0]) {
		k.options.Log.Info("serving with a new certificate", "expires", serving.Leaf.Leaf.NotAfter)
	}
	for _, f := range calls {
		f()
	}
}
