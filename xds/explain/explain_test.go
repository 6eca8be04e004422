package explain

import (
	"errors"
	"math/rand/v2"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// TestUnknownIsAnError puts something into the way of a request that is not known: there must be no answer.
func TestUnknownIsAnError(t *testing.T) {
	r := random{rand.New(rand.NewPCG(1, 7))}
	var plain *Fleet
	for _, f := range r.world(t) {
		if f.Name == "shop/plain" {
			plain = f
		}
	}
	q := &Request{Method: "GET", Port: 80, Authority: "a.example.com", Path: "/"}
	if _, err := plain.Meet(q); err != nil {
		t.Fatal(err)
	}
	l := plain.listener(80)
	config := plain.configs[l.Name]
	manager := func(change func(*hcmv3.HttpConnectionManager)) {
		m := &hcmv3.HttpConnectionManager{}
		if err := l.DefaultFilterChain.Filters[0].GetTypedConfig().UnmarshalTo(m); err != nil {
			t.Fatal(err)
		}
		change(m)
		packed, err := anypb.New(m)
		if err != nil {
			t.Fatal(err)
		}
		l.DefaultFilterChain.Filters[0].ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: packed}
	}
	first := &routev3.Route{
		Name: "new", Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
		Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 204}},
	}
	host := hosts(config, q.Authority)[0].host
	for what, change := range map[string]func(){
		"field of a listener": func() { l.ContinueOnListenerFiltersTimeout = true },
		"network filter": func() {
			l.DefaultFilterChain.Filters = append(l.DefaultFilterChain.Filters, &listenerv3.Filter{Name: "new"})
		},
		"field of a connection manager": func() {
			manager(func(m *hcmv3.HttpConnectionManager) {
				m.StripPortMode = &hcmv3.HttpConnectionManager_StripAnyHostPort{StripAnyHostPort: true}
			})
		},
		"early mutation": func() {
			manager(func(m *hcmv3.HttpConnectionManager) {
				m.EarlyHeaderMutationExtensions = []*corev3.TypedExtensionConfig{{Name: "new"}}
			})
		},
		"field of a route configuration": func() { config.IgnorePathParametersInPathMatching = true },
		"field of a virtual host":        func() { host.RequireTls = routev3.VirtualHost_ALL },
		"kind of match": func() {
			first.Match.PathSpecifier = &routev3.RouteMatch_PathMatchPolicy{}
		},
		"condition of a match": func() { first.Match.Grpc = &routev3.RouteMatch_GrpcRouteMatchOptions{} },
		"field of a header's match": func() {
			first.Match.Headers = []*routev3.HeaderMatcher{{Name: "x-a", InvertMatch: true}}
		},
		"header of Envoy itself": func() {
			first.Match.Headers = []*routev3.HeaderMatcher{{
				Name: "X-Forwarded-For", HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true},
			}}
		},
	} {
		listener, routes, route := proto.CloneOf(l), proto.CloneOf(config), proto.CloneOf(first)
		before := host.Routes
		host.Routes = append([]*routev3.Route{first}, host.Routes...)
		change()
		var unknown *Unknown
		if met, err := plain.Meet(q); !errors.As(err, &unknown) {
			t.Errorf("%s: got %+v, error %v", what, met, err)
		}
		host.Routes = before
		for into, from := range map[proto.Message]proto.Message{l: listener, first: route} {
			proto.Reset(into)
			proto.Merge(into, from)
		}
		config.IgnorePathParametersInPathMatching = routes.IgnorePathParametersInPathMatching
		host.RequireTls = routev3.VirtualHost_NONE
	}
	if _, err := plain.Meet(q); err != nil {
		t.Fatalf("after all changes are undone: %v", err)
	}
}
