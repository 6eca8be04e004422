package explain

import (
	"errors"
	"math/rand/v2"
	"testing"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	earlyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
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

// TestEarlyHeaders: what a ClientTrafficPolicy makes of headers is what routes match. A header that is made of a command is
// unknown until it gets another value.
func TestEarlyHeaders(t *testing.T) {
	const command = "%DOWNSTREAM_REMOTE_ADDRESS%"
	set, add, absent := corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD, corev3.HeaderValueOption_ADD_IF_ABSENT
	mutation := func(action corev3.HeaderValueOption_HeaderAppendAction, name, value string) *mutationv3.HeaderMutation {
		return &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_Append{Append: &corev3.HeaderValueOption{
			Header: &corev3.HeaderValue{Key: name, Value: value}, AppendAction: action,
		}}}
	}
	gone := &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_Remove{Remove: "X-A"}}
	matching := &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_RemoveOnMatch_{
		RemoveOnMatch: &mutationv3.HeaderMutation_RemoveOnMatch{KeyMatcher: &matcherv3.StringMatcher{
			MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: "x-"},
		}},
	}}
	type changes []*mutationv3.HeaderMutation
	for _, test := range []struct {
		name    string
		changes changes
		// want is why a match of x-a with "1" is not met: empty if it is, and what is not known if that is the reason.
		want string
	}{
		{"set", changes{mutation(set, "X-A", "1")}, ""},
		{"percent", changes{mutation(set, "x-a", "1%%")}, `header x-a is "1%" and not "1"`},
		{"absent", changes{mutation(absent, "x-a", "1")}, `header x-a is "sent" and not "1"`},
		{"removed", changes{gone}, "header x-a is missing"},
		{"removed by a match", changes{matching}, "header x-a is missing"},
		{"removed and added", changes{gone, mutation(add, "x-a", "1")}, ""},
		{"command", changes{mutation(set, "x-a", command)}, "a match on header x-a, which a ClientTrafficPolicy makes of a command"},
		{"command of another header", changes{mutation(set, "x-b", command)}, `header x-a is "sent" and not "1"`},
		{"command that is not used", changes{mutation(absent, "x-a", command)}, `header x-a is "sent" and not "1"`},
		{"command and set", changes{mutation(set, "x-a", command), mutation(set, "x-a", "1")}, ""},
		{"command and removed", changes{mutation(set, "x-a", command), gone}, "header x-a is missing"},
		{"command and removed by a match", changes{mutation(set, "x-a", command), matching}, "header x-a is missing"},
		{
			"command for the type",
			changes{mutation(set, "Content-Type", command)},
			`an early header mutation that makes "content-type" of a command`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			packed, err := anypb.New(&earlyv3.HeaderMutation{Mutations: test.changes})
			if err != nil {
				t.Fatal(err)
			}
			s, _, err := receive("where", &hcmv3.HttpConnectionManager{
				EarlyHeaderMutationExtensions: []*corev3.TypedExtensionConfig{{Name: "early", TypedConfig: packed}},
			}, &Request{Method: "GET", Path: "/", Headers: []Header{{"x-a", "sent"}}})
			got := ""
			if err == nil {
				got, err = s.meetsHeader("where", &routev3.HeaderMatcher{
					Name: "x-a", HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: &matcherv3.StringMatcher{
						MatchPattern: &matcherv3.StringMatcher_Exact{Exact: "1"},
					}},
				})
			}
			var unknown *Unknown
			if errors.As(err, &unknown) {
				got = unknown.What
			}
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
