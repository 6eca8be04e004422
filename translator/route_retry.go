package translator

import (
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"gatehouse/policies/feature"
	"gatehouse/policies/retry"
)

// A request that an endpoint did not get is tried at another one, if neither a route nor a policy says how requests are
// tried again (docs/decisions/023-requests-that-no-endpoint-got.md).

// unreached is how such requests and connections are tried again.
var unreached = retry.Unreached()

// retried are the fields of a virtual host that ask for it for all of its requests. The retry of a route replaces it.
var retried = func() []byte {
	enabled := &routev3.Route{}
	feature.Enable(enabled, retry.RepeatFilter)
	return encode(&routev3.VirtualHost{
		RetryPolicy:          unreached,
		TypedPerFilterConfig: map[string]*anypb.Any{retry.RepeatFilter: enabled.TypedPerFilterConfig[retry.RepeatFilter]},
	})
}()

// retries is nil if nothing is tried again by default.
func (s *Settings) retries() *routev3.RetryPolicy {
	if s.RetriesDisabled {
		return nil
	}
	return unreached
}
