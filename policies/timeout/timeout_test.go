package timeout

import (
	"testing"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

	"gatehouse/policies/feature"
)

func TestSettle(t *testing.T) {
	seconds := func(n int) *durationpb.Duration { return durationpb.New(time.Duration(n) * time.Second) }
	stream := &routev3.RouteAction_MaxStreamDuration{MaxStreamDuration: seconds(9)}
	tests := map[string]struct{ action, want *routev3.RouteAction }{
		"nothing": {&routev3.RouteAction{}, &routev3.RouteAction{}},
		"a short request": {
			&routev3.RouteAction{Timeout: seconds(5)},
			&routev3.RouteAction{Timeout: seconds(5), IdleTimeout: seconds(3600)},
		},
		"a long request": {
			&routev3.RouteAction{Timeout: seconds(7200)},
			&routev3.RouteAction{Timeout: seconds(7200), IdleTimeout: seconds(7200)},
		},
		"an endless request": {
			&routev3.RouteAction{Timeout: seconds(0)},
			&routev3.RouteAction{Timeout: seconds(0), IdleTimeout: seconds(0)},
		},
		"idle as written": {
			&routev3.RouteAction{Timeout: seconds(5), IdleTimeout: seconds(1)},
			&routev3.RouteAction{Timeout: seconds(5), IdleTimeout: seconds(1)},
		},
		"idle alone": {
			&routev3.RouteAction{IdleTimeout: seconds(1)},
			&routev3.RouteAction{IdleTimeout: seconds(1)},
		},
		"stream alone": {
			&routev3.RouteAction{MaxStreamDuration: stream},
			&routev3.RouteAction{MaxStreamDuration: stream},
		},
		"request and stream": {
			&routev3.RouteAction{Timeout: seconds(5), MaxStreamDuration: stream},
			&routev3.RouteAction{Timeout: seconds(5), IdleTimeout: seconds(3600)},
		},
		"no action, so a redirect": {nil, nil},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			for range 2 { // A second call changes nothing more.
				route := &routev3.Route{}
				if tc.action != nil {
					route.Action = &routev3.Route_Route{Route: tc.action}
				}
				settle(nil, &feature.Route{Route: route})
				if diff := cmp.Diff(tc.want, route.GetRoute(), protocmp.Transform()); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			}
		})
	}
}
