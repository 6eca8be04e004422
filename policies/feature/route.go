package feature

import (
	"cmp"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Route is a route under construction.
type Route struct {
	*routev3.Route
	// Owner is what the spec is of, for names that Envoy's logs and statistics show: the namespace/name of a policy, or
	// the kind/namespace/name/rule/rule of a rule.
	Owner string

	// What follows is for the rules of routes only. The first are set by features.

	// Session matches the requests that belong to a session already, and keep to the endpoint that answered before. It
	// is nil if there are no sessions.
	Session *routev3.HeaderMatcher
	// OnHost returns the route as it is in the virtual host of a host. It copies what it changes. It is nil if the
	// route is the same for all hosts.
	OnHost func(route *routev3.Route, host string) *routev3.Route

	// The rest is known before features are called.

	// Match is the match that the route is for, nil for all requests.
	Match *gwapiv1.HTTPRouteMatch
	// Scheme is that of the listener's requests, and Port is the listener's port.
	Scheme string
	Port   int32
	// GRPC reports whether the requests are those of gRPC.
	GRPC bool
	// EndsIdle reports whether the listener has an idle time of its own for requests.
	EndsIdle bool
	// Once reports whether a request that no endpoint received is by default not tried at another endpoint.
	Once bool
	// Guarded reports whether requests pass filters of the listener before the route is chosen. Then they also pass all
	// filters that the route does not disable.
	Guarded bool
}

// Forward returns the action that forwards requests. If something else answers them, what is set on it has no effect.
func (r *Route) Forward() *routev3.RouteAction {
	return cmp.Or(r.GetRoute(), &routev3.RouteAction{})
}

// Encode encodes a message, always into the same bytes: in every replica, and after every restart. It panics on a
// message that cannot be encoded, which only strings that are not UTF-8 can cause; the API server and the YAML decoder
// let none through.
func Encode(message proto.Message) []byte {
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(message)
	if err != nil {
		panic("encoding an Envoy message: " + err.Error())
	}
	return encoded
}

// typePrefix precedes the full name of a message in a type URL.
const typePrefix = "type.googleapis.com/"

// Any packs a message as Encode encodes it.
func Any(message proto.Message) *anypb.Any {
	return &anypb.Any{TypeUrl: typePrefix + string(message.ProtoReflect().Descriptor().FullName()), Value: Encode(message)}
}
