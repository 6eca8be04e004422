// Package webhook answers the admission requests of the API server: whether an object may be stored (validate), and
// which defaults are filled in before that (mutate).
//
// The verdict is the same as that of the controller: the change is tried on the live tables and undone. Invalid
// problems that the change adds are denied. Unresolved and Conflicted ones are warnings. Problems that existed before
// the change are not reported.
package webhook

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
)

// The paths in the webhook configurations.
const (
	ValidatePath = "/validate"
	MutatePath   = "/mutate"
	ZonePath     = "/inject-pod-topology"
)

// Options are the options of admission.
type Options struct {
	// Trier computes the effect of a change.
	Trier Trier
	// Deletions computes the effect of a deletion; nil allows deletions without a look.
	Deletions Trier
	// Effective computes the effect of a change for rules that read the effective configuration; without it they fail.
	Effective Effective
	// Scheme knows the kinds that the webhook configuration sends.
	Scheme *runtime.Scheme
	// Namespaces reads Namespaces from a cache, for their admission level.
	Namespaces client.Reader
	// Level is the level of Namespaces without the label; the default is LevelEnforce.
	Level Level
	// Exists confirms by a live read that an object is missing. If it is nil, the caches are trusted.
	Exists Exists
	// Rules has the AdmissionRules; nil if there are none.
	Rules *RuleBook
	// BreakGlass is what the annotation BreakGlassAnnotation may overrule; the default is BreakGlassVerdicts.
	BreakGlass BreakGlass
	// Events reports what the annotation overrules; nil reports it only in the log, the metrics and the audit log.
	Events Events
	// LeaveCertificateRefs switches off that Secrets are named in listeners for which cert-manager is asked to issue
	// certificates.
	LeaveCertificateRefs bool
	// Zones tells Envoys their zone; nil does not.
	Zones *Zones
	// Access decides which objects of others are named to a user; nil names none.
	Access Access
	// Clients are the clients that get a verdict; nil means everybody.
	Clients *Clients
	// TimeLimit is the time limit of one answer, 4s by default. A shorter limit of the API server wins.
	TimeLimit time.Duration
	// Leaving is closed when this replica is about to stop. It continues to answer, and asks for each connection to be
	// closed after the answer: a request on a connection that is just being closed is lost, because the API server does
	// not repeat it. Nil means never.
	Leaving <-chan struct{}
	// Traces has a span for each request; nil means none.
	Traces trace.TracerProvider
	// Metrics registers the counters; nil registers nothing.
	Metrics prometheus.Registerer
	Log     logr.Logger
}

// Register makes the server answer the API server's admission requests. It returns an error if a required option is
// missing.
func Register(server webhook.Server, o Options) error {
	switch {
	case o.Trier == nil:
		return errors.New("the admission webhook has no Trier: give it the live tables")
	case o.Scheme == nil:
		return errors.New("the admission webhook has no Scheme: give it the one of the controller")
	case o.Namespaces == nil:
		return errors.New("the admission webhook has no Namespaces: give it the reader of the cache")
	}
	counts, crowd := newCounts(o.Metrics), newCrowd()
	validator := &validator{
		trier: o.Trier, deletions: o.Deletions, effective: o.Effective, scheme: o.Scheme, levels: levels{
			namespaces: o.Namespaces, fallback: cmp.Or(o.Level, LevelEnforce),
			log: o.Log,
		}, exists: o.Exists, access: o.Access, rules: o.Rules, counts: counts, log: o.Log,
		breakGlass: cmp.Or(o.BreakGlass, BreakGlassVerdicts), events: o.Events,
	}
	mutations := slices.Clone(Mutations)
	if o.LeaveCertificateRefs {
		mutations = slices.DeleteFunc(mutations, func(m Mutation) bool { return m.Name == certificateRefs.Name })
	}
	mutator := &mutator{mutations: mutations, levels: validator.levels, rules: o.Rules}
	answers := map[string]answerer{ValidatePath: validator.answer, MutatePath: mutator.answer}
	if o.Zones != nil {
		answers[ZonePath] = o.Zones.answer
	}
	for path, answer := range answers {
		server.Register(path, &endpoint{
			name: path[1:], answer: answer, clients: o.Clients, limit: o.TimeLimit, crowd: crowd, counts: counts, tracer: tracerOf(o.Traces),
			knows: o.Scheme.Recognizes, leaving: o.Leaving, log: o.Log,
		})
	}
	return nil
}
