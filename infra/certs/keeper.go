package certs

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// DefaultInterval is the time between two checks of the Secret and of the webhook configurations. It is short: if
// somebody else's upgrade removes the CA, the API server rejects the requests of the webhook until it is restored.
const DefaultInterval = 10 * time.Second

// Keeper provides the certificate of the Secret to this process, renews it in time, and writes the CA into the webhook
// configurations. Every replica has one.
type Keeper struct {
	client   client.Client
	settings Settings
	log      logr.Logger
	// Interval is the time between two checks of the Secret; it may be set before Start.
	Interval time.Duration
	// Webhooks is the name of the ValidatingWebhookConfiguration and of the MutatingWebhookConfiguration that get the
	// CA; empty means none. It may be set before Start.
	Webhooks string
	// Leading is closed when this replica leads, which alone makes the steps of a handover: replicas with other settings would
	// make other ones. Nil means that there is no other replica. It may be set before Load.
	Leading <-chan struct{}

	mu       sync.RWMutex
	current  *Serving
	onChange []func()
}

// NewKeeper returns an empty keeper: call Load before it serves.
func NewKeeper(c client.Client, s Settings, log logr.Logger) *Keeper {
	return &Keeper{client: c, settings: s.withDefaults(), log: log, Interval: DefaultInterval}
}

// Load reads the Secret, and creates or renews it if necessary.
func (k *Keeper) Load(ctx context.Context) error {
	k.mu.RLock()
	known := k.current
	k.mu.RUnlock()
	serving, err := ensure(ctx, k.client, k.settings, known, k.purpose())
	if err != nil {
		return err
	}
	k.take(serving)
	return nil
}

func (k *Keeper) purpose() purpose {
	if k.Leading == nil {
		return serve
	}
	select {
	case <-k.Leading:
		return serve
	default:
		return create
	}
}

// Start maintains the certificate until ctx ends. A failure is logged and tried again; the current certificate stays in
// use.
func (k *Keeper) Start(ctx context.Context) error {
	ticker := time.NewTicker(k.Interval)
	defer ticker.Stop()
	for {
		err := k.Load(ctx)
		if err == nil {
			err = inject(ctx, k.client, k.Webhooks, k.CABundle())
		}
		if err != nil && ctx.Err() == nil {
			k.log.Error(err, "could not look after the serving certificate; trying again", "after", k.Interval.String())
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// NeedLeaderElection returns false: every replica serves.
func (k *Keeper) NeedLeaderElection() bool { return false }

// GetCertificate is for tls.Config.
func (k *Keeper) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.current == nil {
		return nil, errors.New("there is no serving certificate yet")
	}
	return &k.current.Leaf, nil
}

// Certificate returns the certificate that is served; nil before Load.
func (k *Keeper) Certificate() *x509.Certificate {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.current == nil {
		return nil
	}
	return k.current.Leaf.Leaf
}

// CABundle returns the certificates (PEM) that clients of this process must trust; nil before Load.
func (k *Keeper) CABundle() []byte {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.current == nil {
		return nil
	}
	return k.current.CABundle()
}

// OnChange calls f after each change of the CA bundle, including the first one, and immediately if there is one
// already.
func (k *Keeper) OnChange(f func()) {
	k.mu.Lock()
	k.onChange = append(k.onChange, f)
	loaded := k.current != nil
	k.mu.Unlock()
	if loaded {
		f()
	}
}

func (k *Keeper) take(serving *Serving) {
	k.mu.Lock()
	old := k.current
	k.current = serving
	if serving.waiting != nil && (old == nil || old.waiting == nil || old.waiting.Error() != serving.waiting.Error()) {
		k.log.Info("the certificate of cert-manager is not served", "reason", serving.waiting.Error(),
			"servingUntil", serving.Leaf.Leaf.NotAfter)
	}
	var calls []func()
	if old == nil || !bytes.Equal(old.caBundle, serving.caBundle) {
		calls = append(calls, k.onChange...)
	}
	k.mu.Unlock()
	if old == nil || !bytes.Equal(old.Leaf.Certificate[0], serving.Leaf.Certificate[0]) {
		k.log.Info("serving with a new certificate", "expires", serving.Leaf.Leaf.NotAfter)
	}
	for _, f := range calls {
		f()
	}
}
