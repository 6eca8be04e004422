package explain

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	healthv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/health_check/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	earlyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"gatehouse/policies/paths"
)

// Reply is an answer that Envoy gives without a route.
type Reply struct {
	// Status is 0 if the connection is closed or refused without an answer.
	Status int
	// Why fits behind "because".
	Why string
}

// receive brings a request into the form in which a connection manager chooses a route. The reply is not nil if it
// answers at once.
func receive(where string, m *hcmv3.HttpConnectionManager, r *Request) (*seen, *Reply, error) {
	if err := only(where, m, knownManager...); err != nil {
		return nil, nil, err
	}
	s := &seen{method: r.Method, authority: r.Authority, path: r.Path, state: map[string]string{}, uncertain: map[string]bool{}}
	s.headers = slices.Clone(r.Headers)
	if r.HTTP10 && !m.GetHttpProtocolOptions().GetAcceptHttp_10() {
		return nil, &Reply{426, "the client speaks HTTP/1.0, which the listener does not"}, nil
	}
	if reply := s.underscores(m); reply != nil {
		return nil, reply, nil
	}
	if reply := s.normalize(m); reply != nil {
		return nil, reply, nil
	}
	if m.StripTrailingHostDot {
		s.authority = withoutDot(s.authority)
	}
	if err := s.mutate(where, m); err != nil {
		return nil, nil, err
	}
	return s, s.healthCheck(m), nil
}

// healthCheck is the answer to a request about the health of the Gateway itself, nil for other requests.
func (s *seen) healthCheck(m *hcmv3.HttpConnectionManager) *Reply {
	for _, f := range m.HttpFilters {
		check := &healthv3.HealthCheck{}
		if f.GetTypedConfig().MessageIs(check) && f.GetTypedConfig().UnmarshalTo(check) == nil && len(check.Headers) == 1 &&
			check.Headers[0].GetStringMatch().GetExact() == s.path {
			return &Reply{200, "the listener answers requests with this path itself (ClientTrafficPolicy, healthCheck.path)"}
		}
	}
	return nil
}

// underscores applies what the connection manager does about names of headers with underscores.
func (s *seen) underscores(m *hcmv3.HttpConnectionManager) *Reply {
	has := func(h Header) bool { return strings.Contains(h.Name, "_") }
	switch m.GetCommonHttpProtocolOptions().GetHeadersWithUnderscoresAction() {
	case corev3.HttpProtocolOptions_REJECT_REQUEST:
		if i := slices.IndexFunc(s.headers, has); i >= 0 {
			return &Reply{400, fmt.Sprintf("the name of header %s has an underscore, and the listener rejects such requests "+
				"(ClientTrafficPolicy, headers.withUnderscoresAction)", s.headers[i].Name)}
		}
	case corev3.HttpProtocolOptions_DROP_HEADER:
		s.headers = slices.DeleteFunc(s.headers, has)
	}
	return nil
}

// slashes are escaped slashes and what they become.
var slashes = strings.NewReplacer("%2F", "/", "%2f", "/", "%5C", `\`, "%5c", `\`)

// normalize brings the path into the form in which routes are matched.
func (s *seen) normalize(m *hcmv3.HttpConnectionManager) *Reply {
	path, query, found := strings.Cut(s.path, "?")
	redirected := false
	if plain := slashes.Replace(path); plain != path {
		switch m.PathWithEscapedSlashesAction {
		case hcmv3.HttpConnectionManager_REJECT_REQUEST:
			return &Reply{400, "its path has an escaped slash, and the listener rejects such requests (ClientTrafficPolicy, " +
				"path.escapedSlashesAction)"}
		case hcmv3.HttpConnectionManager_UNESCAPE_AND_REDIRECT:
			path, redirected = plain, true
		case hcmv3.HttpConnectionManager_UNESCAPE_AND_FORWARD:
			path = plain
		}
	}
	if m.GetNormalizePath().GetValue() {
		canonical, ok := paths.Canonical(path)
		if !ok {
			return &Reply{400, "its path has an escaped NUL"}
		}
		path = canonical
	}
	if m.MergeSlashes {
		path = paths.MergeSlashes(path)
	}
	if s.path = path; found {
		s.path += "?" + query
	}
	if redirected && strings.HasPrefix(s.contentType(), "application/grpc") {
		return &Reply{400, "its path has an escaped slash, and clients of gRPC follow no redirects"}
	}
	if redirected {
		return &Reply{307, fmt.Sprintf("its path has an escaped slash, so that the client is sent to %s (ClientTrafficPolicy, "+
			"path.escapedSlashesAction)", s.path)}
	}
	return nil
}

func (s *seen) contentType() string {
	return strings.Join(s.header("content-type"), ",")
}

// mutate changes headers before a route is chosen.
func (s *seen) mutate(where string, m *hcmv3.HttpConnectionManager) error {
	for _, extension := range m.EarlyHeaderMutationExtensions {
		mutation := &earlyv3.HeaderMutation{}
		if err := extension.GetTypedConfig().UnmarshalTo(mutation); err != nil {
			return &Unknown{Where: where, What: "early header mutation " + extension.GetName()}
		}
		for _, one := range mutation.Mutations {
			if err := s.changes(where, one); err != nil {
				return err
			}
		}
	}
	return nil
}

// changes changes a header. One whose new value is not known here becomes uncertain.
func (s *seen) changes(where string, one *mutationv3.HeaderMutation) error {
	if m := one.GetRemoveOnMatch(); m != nil {
		return s.removes(where, m.GetKeyMatcher())
	}
	if name := strings.ToLower(one.GetRemove()); name != "" {
		s.remove(name)
		return nil
	}
	add := one.GetAppend()
	name, value := strings.ToLower(add.GetHeader().GetKey()), add.GetHeader().GetValue()
	if name == "" {
		return &Unknown{Where: where, What: "an early header mutation without a name"}
	}
	switch add.AppendAction {
	case corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD:
		s.remove(name)
	case corev3.HeaderValueOption_ADD_IF_ABSENT:
		if slices.ContainsFunc(s.headers, func(h Header) bool { return h.Name == name }) {
			return nil
		}
	}
	if strings.Contains(strings.ReplaceAll(value, "%%", ""), "%") {
		if slices.Contains(reads, name) {
			return &Unknown{Where: where, What: fmt.Sprintf("an early header mutation that makes %q of a command", name)}
		}
		s.uncertain[name] = true
	}
	s.headers = append(s.headers, Header{name, strings.ReplaceAll(value, "%%", "%")})
	return nil
}

// reads are headers that decide about a request elsewhere than in the matches of routes.
var reads = []string{":method", ":authority", "host", ":path", "content-type"}

func (s *seen) remove(name string) {
	s.headers = slices.DeleteFunc(s.headers, func(h Header) bool { return h.Name == name })
	delete(s.uncertain, name)
}

// removes removes the headers whose names match.
func (s *seen) removes(where string, m *matcherv3.StringMatcher) error {
	for _, h := range slices.Clone(s.headers) {
		met, err := text(where, m, h.Name)
		if err != nil {
			return err
		}
		if met {
			s.remove(h.Name)
		}
	}
	return nil
}

// config finds the route configuration for a request: that of the connection manager, or that of the scope. It is nil if
// there is none.
func (f *Fleet) config(where string, m *hcmv3.HttpConnectionManager, s *seen) (*routev3.RouteConfiguration, error) {
	switch from := m.RouteSpecifier.(type) {
	case *hcmv3.HttpConnectionManager_Rds:
		return f.configs[from.Rds.RouteConfigName], nil
	case *hcmv3.HttpConnectionManager_ScopedRoutes:
		key, err := scopeKey(where, from.ScopedRoutes.GetScopeKeyBuilder(), s)
		if err != nil {
			return nil, err
		}
		return f.scopes[key], nil
	}
	return nil, &Unknown{Where: where, What: fmt.Sprintf("routes of type %T", m.RouteSpecifier)}
}

// keySeparator is between the fragments of the key of a scope.
const keySeparator = "\x00"

// scopeKey is the key of the scope of a request.
func scopeKey(where string, b *hcmv3.ScopedRoutes_ScopeKeyBuilder, s *seen) (string, error) {
	var key []string
	for _, fragment := range b.GetFragments() {
		from := fragment.GetHeaderValueExtractor()
		if from == nil || from.GetElement() != nil || from.GetIndex() != 0 {
			return "", &Unknown{Where: where, What: "a scope key that is not the beginning of a header"}
		}
		value := strings.Join(s.header(strings.ToLower(from.Name)), ",")
		if from.ElementSeparator != "" {
			value, _, _ = strings.Cut(value, from.ElementSeparator)
		}
		key = append(key, value)
	}
	return strings.Join(key, keySeparator), nil
}

// keyOfScope is the key under which a scope is found.
func keyOfScope(k *routev3.ScopedRouteConfiguration_Key) string {
	var key []string
	for _, fragment := range k.GetFragments() {
		key = append(key, fragment.GetStringKey())
	}
	return strings.Join(key, keySeparator)
}

// copyState returns a copy of a request with another filter state.
func (s *seen) copyState(changes map[string]string) *seen {
	next := *s
	next.state = maps.Clone(s.state)
	maps.Copy(next.state, changes)
	return &next
}
