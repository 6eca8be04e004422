package translator

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"golang.org/x/tools/txtar"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	"gatehouse/policies/regex"
	"gatehouse/translator/flow"
)

// message decodes a resource.
func (r *Resource) message() (proto.Message, error) {
	return (&anypb.Any{TypeUrl: r.Type, Value: r.Body()}).UnmarshalNew()
}

// validate finds what Envoy's own constraints (protoc-gen-validate) refuse in a message and in all that is packed in
// it.
func validate(m proto.Message) error {
	if v, ok := m.(interface{ ValidateAll() error }); ok {
		if err := v.ValidateAll(); err != nil {
			return err
		}
	}
	var failed error
	inner := func(m protoreflect.Message) {
		message := m.Interface()
		if packed, ok := message.(*anypb.Any); ok {
			if proto.Size(packed) == 0 {
				return // It enables a filter without giving it another configuration.
			}
			var err error
			if message, err = packed.UnmarshalNew(); err != nil {
				failed = err
				return
			}
		}
		if err := validate(message); err != nil {
			failed = err
		}
	}
	m.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsMap() && f.MapValue().Kind() == protoreflect.MessageKind:
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				inner(v.Message())
				return failed == nil
			})
		case f.Kind() != protoreflect.MessageKind || f.IsMap():
		case f.IsList():
			for i := range v.List().Len() {
				inner(v.List().Get(i).Message())
			}
		default:
			inner(v.Message())
		}
		return failed == nil
	})
	return failed
}

// wantValid fails for what a batch sends although Envoy would refuse it.
func wantValid(t *testing.T, o Outcome) {
	t.Helper()
	for _, d := range o.Deltas {
		for _, r := range d.Changed {
			m, err := r.message()
			if err == nil {
				err = validate(m)
			}
			if err != nil {
				t.Errorf("%s %s of %s is not valid: %v\n%s", r.Type, r.Name, d.Fleet, err, protojson.Format(m))
			}
		}
	}
}

// all are the resources of a fleet.
func (w *World) all(fleet string) (resources []*Resource) {
	r := w.engine.Read()
	for _, table := range []*flow.Table[*Resource]{w.tables.portListeners, w.tables.routeConfigs, w.tables.scopes} {
		for _, row := range table.All(r) {
			if of, _ := splitKey(row.Key); of == fleet {
				resources = append(resources, row.Value)
			}
		}
	}
	for _, row := range w.tables.clusters.All(r) {
		if of, _ := splitKey(row.Key); of == fleet {
			resources = append(resources, row.Value.Resource)
		}
	}
	return resources
}

// ads is where resources come from in that configuration, and overADS how they are asked for in a fleet's resources.
const ads = `{"api_type":"DELTA_GRPC","transport_api_version":"V3","grpc_services":[{"envoy_grpc":{"cluster_name":"ads"}}]}`

var overADS = regexp.MustCompile(`"ads": ?\{\}`)

// bootstrap is a configuration of Envoy with a fleet's resources as static ones, each listener with the routes that it
// asks for.
func bootstrap(resources []*Resource) ([]byte, error) {
	routes := map[string]*routev3.RouteConfiguration{}
	scopes := &hcmv3.ScopedRouteConfigurationsList{}
	static := map[string][]json.RawMessage{}
	for _, r := range resources {
		m, err := r.message()
		if err != nil {
			return nil, err
		}
		switch m := m.(type) {
		case *routev3.RouteConfiguration:
			routes[m.Name] = m
		case *routev3.ScopedRouteConfiguration:
			scopes.ScopedRouteConfigurations = append(scopes.ScopedRouteConfigurations, m)
		}
	}
	if len(scopes.ScopedRouteConfigurations) == 0 { // A list in the listener itself must not be empty.
		none := scopeKey("none")
		scopes.ScopedRouteConfigurations = []*routev3.ScopedRouteConfiguration{{
			Name: "none", RouteConfiguration: &routev3.RouteConfiguration{Name: "none"},
			Key: &routev3.ScopedRouteConfiguration_Key{Fragments: []*routev3.ScopedRouteConfiguration_Key_Fragment{none, none}},
		}}
	}
	for _, r := range resources {
		m, err := r.message()
		if err != nil {
			return nil, err
		}
		field := map[string]string{typeListener: "listeners", typeCluster: "clusters"}[r.Type]
		if field == "" {
			continue
		}
		if l, ok := m.(*listenerv3.Listener); ok {
			if err := inline(l, routes, scopes); err != nil {
				return nil, err
			}
		}
		text, err := protojson.Marshal(m)
		if err != nil {
			return nil, err
		}
		// Static clusters that use DNS ask for secrets before Envoy has the stream of ads_config, without which it crashes.
		text = overADS.ReplaceAll(text, []byte(`"apiConfigSource":`+ads))
		static[field] = append(static[field], text)
	}
	server := json.RawMessage(`{"name":"ads","type":"STATIC"}`)
	static["clusters"] = append([]json.RawMessage{server}, static["clusters"]...)
	return json.Marshal(map[string]any{
		"node": map[string]string{"id": "fuzz", "cluster": "fuzz"}, "static_resources": static,
		"dynamic_resources": map[string]json.RawMessage{"ads_config": json.RawMessage(ads)},
		// As in the start configuration of fleets (infra/bootstrap).
		"layered_runtime": map[string]any{"layers": []any{map[string]any{
			"name": "limits", "static_layer": map[string]any{
				"re2.max_program_size.error_level":                                                 regex.MaxProgram,
				"envoy.reloadable_features.enable_formatter_for_ratelimit_action_descriptor_value": true,
			},
		}}},
	})
}

// inline puts route configurations into a listener in place of their names.
func inline(l *listenerv3.Listener, routes map[string]*routev3.RouteConfiguration,
	scopes *hcmv3.ScopedRouteConfigurationsList,
) error {
	chains := l.FilterChains
	if l.DefaultFilterChain != nil {
		chains = append(chains[:len(chains):len(chains)], l.DefaultFilterChain)
	}
	for _, chain := range chains {
		for _, filter := range chain.Filters {
			manager := &hcmv3.HttpConnectionManager{}
			if filter.GetTypedConfig().UnmarshalTo(manager) != nil {
				continue // Another filter.
			}
			if rds := manager.GetRds(); rds != nil {
				config := routes[rds.RouteConfigName]
				if config == nil {
					return fmt.Errorf("listener %s asks for route configuration %s, which is not there", l.Name, rds.RouteConfigName)
				}
				manager.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: config}
			}
			if scoped := manager.GetScopedRoutes(); scoped != nil {
				scoped.ConfigSpecifier = &hcmv3.ScopedRoutes_ScopedRouteConfigurationsList{ScopedRouteConfigurationsList: scopes}
			}
			filter.ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: packed(manager)}
		}
	}
	return nil
}

// envoy is the program at $ENVOY, or else bin/envoy of the repository. Without either the test is skipped.
func envoy(tb testing.TB) string {
	tb.Helper()
	path := os.Getenv("ENVOY")
	if path == "" {
		path, _ = filepath.Abs("../bin/envoy") // It fails without a working directory only.
	}
	if _, err := os.Stat(path); err != nil {
		tb.Skipf("no Envoy: %v; get it with make build", err)
	}
	return path
}

// judged is what a real Envoy says of a fleet's resources; nil if it takes them.
func judged(t *testing.T, envoy string, resources []*Resource) error {
	t.Helper()
	config, err := bootstrap(resources)
	if err != nil {
		return err
	}
	file := filepath.Join(t.TempDir(), "envoy.json")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(envoy, "--mode", "validate", "-c", file, "--log-level", "error").CombinedOutput()
	if err != nil {
		text := strings.TrimSpace(string(out))
		return fmt.Errorf("%w: %s", err, text[max(0, len(text)-2000):])
	}
	return nil
}

// FuzzEnvoy has a real Envoy judge what random objects are translated to.
func FuzzEnvoy(f *testing.F) {
	program := envoy(f)
	for seed := range uint64(4) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		h := newHistory(seed)
		w := h.world(t)
		w.tables.settings.ExternalNames = true
		events := h.opening()
		for range 60 {
			events = append(events, h.store(h.object()))
		}
		outcome, err := w.Apply(events)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range outcome.Deltas {
			if err := judged(t, program, w.all(d.Fleet)); err != nil {
				t.Errorf("seed %d: Envoy rejects what %s gets: %v", seed, d.Fleet, err)
			}
		}
	})
}

// TestEnvoyJudges shows that the fuzz can fail: a regular expression that our own checks would have found is refused.
func TestEnvoyJudges(t *testing.T) {
	program := envoy(t)
	w := newWorld(t)
	archive, err := txtar.ParseFile("testdata/quickstart.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var events []Event
	for _, o := range decode(t, archive.Files[0].Data) {
		events = append(events, Event{Object: o})
	}
	outcome, err := w.Apply(events)
	if err != nil {
		t.Fatal(err)
	}
	resources := w.all(outcome.Deltas[0].Fleet)
	if err := judged(t, program, resources); err != nil {
		t.Errorf("Envoy rejects the quickstart: %v", err)
	}
	for i, r := range resources {
		if m, err := r.message(); err == nil && r.Type == typeRoutes {
			route := m.(*routev3.RouteConfiguration).VirtualHosts[0].Routes[0]
			route.Match.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: "/("}}
			resources[i] = resource(m, r.Name)
		}
	}
	if err := judged(t, program, resources); err == nil || !strings.Contains(err.Error(), "missing )") {
		t.Errorf("Envoy took a broken regular expression: %v", err)
	}
}
