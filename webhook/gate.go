package webhook

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/go-logr/logr"
	admissionregv1 "k8s.io/api/admissionregistration/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// FailurePolicy is how the webhook configuration's failurePolicy is chosen.
type FailurePolicy string

const (
	// FailurePolicyAuto is Fail while the webhook denies a known-bad object over the network and two replicas are
	// ready, and Ignore otherwise.
	FailurePolicyAuto FailurePolicy = "Auto"
	// FailurePolicyIgnore allows objects that no replica judges.
	FailurePolicyIgnore FailurePolicy = "Ignore"
	// FailurePolicyFail rejects objects that no replica judges.
	FailurePolicyFail FailurePolicy = "Fail"
)

// ParseFailurePolicy parses a flag or a field of a configuration file.
func ParseFailurePolicy(s string) (FailurePolicy, error) {
	switch p := FailurePolicy(s); p {
	case FailurePolicyAuto, FailurePolicyIgnore, FailurePolicyFail:
		return p, nil
	}
	return "", fmt.Errorf("failure policy %q is not known: use Auto, Ignore or Fail", s)
}

const (
	// enoughReplicas is how many replicas must be ready before anything fails closed, so that a restart of one of them
	// blocks nobody.
	enoughReplicas = 2
	gateInterval   = 10 * time.Second
)

// Gate maintains the failurePolicy of the ValidatingWebhookConfiguration. It runs only on the leader, because two gates
// could disagree.
type Gate struct {
	// Reader reads without caches; Writer patches.
	Reader client.Reader
	Writer client.Writer
	// Configuration is the name of the ValidatingWebhookConfiguration.
	Configuration string
	Policy        FailurePolicy
	// Interval is the time between two checks, 10s by default.
	Interval time.Duration
	// Dial connects to the webhook's Service; nil dials the address directly.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Certificate is the client certificate of the self-test, if the webhook asks for one; nil sends none.
	Certificate func(*tls.CertificateRequestInfo) (*tls.Certificate, error)
	Log         logr.Logger
}

// Start checks at once and then regularly until ctx ends. A failed step is tried again at the next check.
func (g *Gate) Start(ctx context.Context) error {
	interval := g.Interval
	if interval <= 0 {
		interval = gateInterval
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		if err := g.Keep(ctx); err != nil && ctx.Err() == nil {
			g.Log.Error(err, "keeping the failurePolicy of admission")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// gatedWebhook is the only webhook that ever fails closed. All others keep Ignore: a cluster that cannot write Secrets,
// or cannot delete, cannot recover.
const gatedWebhook = "validate.gatehouse.dev"

// Keep checks once, and patches the gated webhook if it has another failurePolicy than the wanted one.
func (g *Gate) Keep(ctx context.Context) error {
	config := &admissionregv1.ValidatingWebhookConfiguration{}
	if err := g.Reader.Get(ctx, client.ObjectKey{Name: g.Configuration}, config); err != nil {
		return fmt.Errorf("reading ValidatingWebhookConfiguration %s: %w", g.Configuration, err)
	}
	i := slices.IndexFunc(config.Webhooks,
		func(w admissionregv1.ValidatingWebhook) bool { return w.Name == gatedWebhook })
	if i < 0 {
		return nil
	}
	judging := config.Webhooks[i]
	want, why := g.want(ctx, judging.ClientConfig)
	if want == "" || judging.FailurePolicy != nil && *judging.FailurePolicy == want {
		return nil
	}
	raw, err := json.Marshal(map[string]any{"webhooks": []any{
		map[string]any{"name": gatedWebhook, "failurePolicy": want},
	}})
	if err != nil {
		return fmt.Errorf("encoding the failurePolicy: %w", err)
	}
	if err := g.Writer.Patch(ctx, config, client.RawPatch(types.StrategicMergePatchType, raw)); err != nil {
		return fmt.Errorf("setting failurePolicy %s in ValidatingWebhookConfiguration %s: %w", want, g.Configuration, err)
	}
	g.Log.Info("admission's failurePolicy changes", "failurePolicy", want, "why", why)
	return nil
}

// want returns the wanted failurePolicy and the reason for it. It is empty if the current one is to stay: a client that
// floods the webhook must not open it.
func (g *Gate) want(ctx context.Context, at admissionregv1.WebhookClientConfig) (admissionregv1.FailurePolicyType,
	string,
) {
	switch g.Policy {
	case FailurePolicyIgnore:
		return admissionregv1.Ignore, "it is configured so"
	case FailurePolicyFail:
		return admissionregv1.Fail, "it is configured so"
	}
	ready, err := g.ready(ctx, at.Service)
	if err != nil {
		return admissionregv1.Ignore, err.Error()
	}
	if ready < enoughReplicas {
		return admissionregv1.Ignore, fmt.Sprintf("%d of at least %d replicas ready", ready, enoughReplicas)
	}
	switch err := g.selfTest(ctx, at); {
	case errors.Is(err, errBusy):
		return "", err.Error()
	case err != nil:
		return admissionregv1.Ignore, err.Error()
	}
	return admissionregv1.Fail, fmt.Sprintf("the self-test passed and %d replicas are ready", ready)
}

// ready counts the replicas behind the Service.
func (g *Gate) ready(ctx context.Context, service *admissionregv1.ServiceReference) (int, error) {
	if service == nil {
		return 0, fmt.Errorf("the webhook is given by url, so replicas cannot be counted: set the failure policy to Fail if they are enough")
	}
	list := &discoveryv1.EndpointSliceList{}
	err := g.Reader.List(ctx, list, client.InNamespace(service.Namespace),
		client.MatchingLabels{discoveryv1.LabelServiceName: service.Name})
	if err != nil {
		return 0, fmt.Errorf("counting the replicas behind Service %s/%s: %w", service.Namespace, service.Name, err)
	}
	ready := map[string]bool{}
	for _, slice := range list.Items {
		for _, e := range slice.Endpoints {
			if e.Conditions.Ready != nil && *e.Conditions.Ready {
				ready[replica(e)] = true
			}
		}
	}
	return len(ready), nil
}

// replica identifies endpoints by their pod, which has one address of each IP family.
func replica(e discoveryv1.Endpoint) string {
	if e.TargetRef != nil {
		return e.TargetRef.Name
	}
	return fmt.Sprint(e.Addresses)
}
