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
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
)

// The paths that the webhook configurations name.
const (
	ValidatePath = "/validate"
	MutatePath   = "/mutate"
)

// Options are what admission needs.
type Options struct {
	// Trier answers what a change would do.
	Trier Trier
	// Scheme knows the kinds that the webhook configuration sends.
	Scheme *runtime.Scheme
	// Namespaces reads Namespaces from a cache, for their admission level.
	Namespaces client.Reader
	// Level is how strict admission is where a Namespace does not say so itself; the default is LevelEnforce.
	Level Level
	// Exists confirms by a live read that an object is missing. Nil confirms nothing: caches are believed.
	Exists Exists
	// Clients are those who get a verdict; nil is everybody.
	Clients *Clients
	// TimeLimit is what one answer may take, 4s by default. The API server's own limit, if shorter, wins.
	TimeLimit time.Duration
	// Leaving is closed when this replica is about to end. It answers on, and asks for each connection to be given up after the answer, since
	// a request on a connection that is just being closed is lost: the API server does not repeat it. Nil is never.
	Leaving <-chan struct{}
	// Metrics takes the counters; nil counts nothing that anybody sees.
	Metrics prometheus.Registerer
	Log     logr.Logger
}

// Register has the server answer the API server's admission requests. It is an error if an option is missing that it cannot do without.
func Register(server webhook.Server, o Options) error {
	switch {
	case o.Trier == nil:
		return errors.New("the admission webhook has no Trier; give it the live tables")
	case o.Scheme == nil:
		return errors.New("the admission webhook has no Scheme; give it the one of the controller")
	case o.Namespaces == nil:
		return errors.New("the admission webhook has no Namespaces; give it the reader of the cache")
	}
	validator := &validator{
		trier: o.Trier, scheme: o.Scheme, levels: levels{namespaces: o.Namespaces, fallback: cmp.Or(o.Level, LevelEnforce), log: o.Log}, exists: o.Exists, log: o.Log,
	}
	mutator := &mutator{mutations: Mutations}
	counts, crowd := newCounts(o.Metrics), newCrowd()
	for path, answer := range map[string]answerer{ValidatePath: validator.answer, MutatePath: mutator.answer} {
		server.Register(path, &endpoint{
			name: path[1:], answer: answer, clients: o.Clients, limit: o.TimeLimit, crowd: crowd, counts: counts, knows: o.Scheme.Recognizes, leaving: o.Leaving, log: o.Log,
		})
	}
	return nil
}
