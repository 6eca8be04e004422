package feature

import (
	"google.golang.org/protobuf/proto"

	"gatehouse/policies/regex"
)

// What Envoy needs, in bytes: for each entry of a list such as a header or a backend, for each byte of a text, for each
// byte of the encoded configuration of a filter, most of which is many small entries, and for each status code. Real
// Envoys need less (TestEnvoyTakesLessThanEstimated).
const (
	PerEntry   = 1 << 10
	PerText    = 4
	PerEncoded = 24
	PerCode    = 16
)

// Cost is what a feature's part costs an Envoy, in bytes. It is estimated from above, before anything is made of it.
type Cost struct {
	// Route is for each route of the rule, or for each route that the policy covers.
	Route int64

	// What follows is of rules only.

	// Changes is for the rule's changes of headers. If a backendRef has filters, the share of each backend repeats
	// them.
	Changes int64
	// Backends is for the filters of all backendRefs together.
	Backends int64
	// Session is for the match of a route that only requests of a session take (Route, Session).
	Session int64
}

// Add returns the sum of two costs.
func (c Cost) Add(o Cost) Cost {
	return Cost{
		Route: c.Route + o.Route, Changes: c.Changes + o.Changes, Backends: c.Backends + o.Backends, Session: c.Session +
			o.Session,
	}
}

// Encoded is the cost of the configuration of a filter.
func Encoded(config proto.Message) int64 { return PerEncoded * int64(proto.Size(config)) }

// Expressions is the cost of regular expressions. Those that cannot be used cost nothing.
func Expressions(expressions ...string) (cost int64) {
	for _, e := range expressions {
		if measured, err := regex.Measure(e); err == nil {
			cost += measured.Memory
		}
	}
	return cost
}
