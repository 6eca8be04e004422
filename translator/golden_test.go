package translator

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	acmev1 "github.com/cert-manager/cert-manager/pkg/apis/acme/v1"
	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoregistry"
	certificatesv1 "k8s.io/api/certificates/v1"
	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
	gwapixv1alpha1 "sigs.k8s.io/gateway-api/apisx/v1alpha1"
	mcsv1alpha1 "sigs.k8s.io/mcs-api/pkg/apis/v1alpha1"
	"sigs.k8s.io/yaml"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies"
	"gatehouse/policies/rules"
)

var update = flag.Bool("update", false, "rewrite the goldens")

const controllerName = "gateway.envoyproxy.io/gatewayclass-controller"

// newWorld returns empty tables with the built-in rules, whose clock stands still.
func newWorld(tb testing.TB) *World {
	tb.Helper()
	engine, err := rules.Builtin()
	if err != nil {
		tb.Fatal(err)
	}
	w, now := NewWorld(NewTables(Settings{ControllerName: controllerName}, engine)), time.Now()
	w.now = func() time.Time { return now }
	return w
}

// testScheme knows every kind that the translation reads.
var testScheme = newTestScheme()

func newTestScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		gwapiv1.Install, gwapixv1alpha1.Install, mcsv1alpha1.Install,
		corev1.AddToScheme, certificatesv1.AddToScheme, certificatesv1beta1.AddToScheme, discoveryv1.AddToScheme,
		v1alpha1.AddToScheme, cmv1.AddToScheme, acmev1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			panic(err) // Two types under one kind: a programmer's mistake.
		}
	}
	return scheme
}

// decode reads the objects of a YAML stream, as the API server stores them: with a UID and generation 1.
func decode(tb testing.TB, stream []byte) []Object {
	tb.Helper()
	decoder := serializer.NewCodecFactory(testScheme, serializer.EnableStrict).UniversalDeserializer()
	var objects []Object
	for _, document := range strings.Split(string(stream), "\n---\n") {
		o, _, err := decoder.Decode([]byte(document), nil, nil)
		if err != nil {
			tb.Fatalf("decode %s: %v", document, err)
		}
		object := o.(Object)
		if object.GetUID() == "" {
			object.SetUID(types.UID(fmt.Sprintf("%T/%s", object, keyOf(object))))
		}
		if object.GetGeneration() == 0 {
			object.SetGeneration(1)
		}
		objects = append(objects, object)
	}
	return objects
}

// TestGoldens runs every testdata/*.txtar. The first paragraph says what users are promised; input.yaml holds the
// objects; each other file is a part of the outcome, and only the parts that a golden is about are in it. What
// settings.yaml holds is set before, and the cluster serves the kinds of served.txt besides those of every cluster. The
// clock shows what now.txt holds.
func TestGoldens(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no goldens: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) { golden(t, file) })
	}
}

func golden(t *testing.T, file string) {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	outcome := outcomeOf(t, archive)
	mustBeOwn(t, outcome.Statuses)
	for i := range archive.Files[1:] {
		part := &archive.Files[i+1]
		if slices.Contains([]string{"settings.yaml", "served.txt", "now.txt"}, part.Name) {
			continue
		}
		got := render(t, part.Name, outcome)
		if *update {
			part.Data = got
		} else if diff := cmp.Diff(string(part.Data), string(got)); diff != "" {
			t.Errorf("%s (-want +got, rewrite with -update):\n%s", part.Name, diff)
		}
	}
	if *update {
		if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// outcomeOf is the outcome of what a golden holds.
func outcomeOf(t *testing.T, archive *txtar.Archive) Outcome {
	t.Helper()
	world := newWorld(t)
	if i := slices.IndexFunc(archive.Files, func(f txtar.File) bool { return f.Name == "settings.yaml" }); i >= 0 {
		if err := yaml.UnmarshalStrict(archive.Files[i].Data, &world.tables.settings); err != nil {
			t.Fatal(err)
		}
	}
	if i := slices.IndexFunc(archive.Files, func(f txtar.File) bool { return f.Name == "now.txt" }); i >= 0 {
		now, err := time.Parse(time.RFC3339, strings.TrimSpace(string(archive.Files[i].Data)))
		if err != nil {
			t.Fatal(err)
		}
		world.now = func() time.Time { return now }
	}
	var events []Event
	if i := slices.IndexFunc(archive.Files, func(f txtar.File) bool { return f.Name == "served.txt" }); i >= 0 {
		for _, name := range strings.Fields(string(archive.Files[i].Data)) {
			kind := schema.ParseGroupKind(name)
			events = append(events, Event{Served: &kind})
		}
	}
	for _, o := range decode(t, archive.Files[0].Data) {
		events = append(events, Event{Object: o})
	}
	outcome, err := world.Apply(events)
	if err != nil {
		t.Fatal(err)
	}
	return outcome
}

// parts of an outcome, by the name of the golden's file.
var parts = map[string]string{
	"listeners.yaml": typeListener,
	"routes.yaml":    typeRoutes,
	"scopes.yaml":    typeScopes,
	"clusters.yaml":  typeCluster,
	"endpoints.yaml": typeEndpoints,
	"limits.yaml":    typePrefix + "ratelimit.config.ratelimit.v3.RateLimitConfig",
}

func render(t *testing.T, name string, outcome Outcome) []byte {
	var out bytes.Buffer
	switch name {
	case "problems.txt":
		for _, s := range outcome.Statuses {
			for _, p := range s.Problems {
				fmt.Fprintf(&out, "%T %s %s\n  %s\n", s.Object, s.Object.GetName(), p.Weight, p)
			}
		}
	case "status.yaml":
		for _, s := range outcome.Statuses {
			writeDocument(t, &out, fmt.Sprintf("%s %s", reflect.TypeOf(s.Object).Elem().Name(), keyOf(s.Object)),
				withoutFields(t, []byte(s.encoded), "supportedFeatures"))
		}
	case "names.txt":
		for _, d := range outcome.Deltas {
			for _, r := range d.Changed {
				fmt.Fprintf(&out, "%s %s %s\n", d.Fleet, r.Type[strings.LastIndex(r.Type, ".")+1:], r.Name)
			}
		}
	case "ports.txt":
		for _, key := range slices.Sorted(maps.Keys(outcome.Requirements)) {
			for _, p := range outcome.Requirements[key].Ports {
				fmt.Fprintf(&out, "%s %s: %s %d to %d\n", key, p.Name, p.Protocol, p.Port, p.Target)
			}
		}
	case "addresses.yaml":
		for _, d := range outcome.Deltas {
			for _, r := range d.Changed {
				if r.Type == typeListener {
					writeAddress(t, &out, r)
				}
			}
		}
	case "quic.yaml":
		for _, d := range outcome.Deltas {
			for _, r := range d.Changed {
				if r.Type == typeListener && unpacked[*listenerv3.Listener](t, r).GetUdpListenerConfig().GetQuicOptions() != nil {
					writeDocument(t, &out, "", asJSON(t, r))
				}
			}
		}
	case "shapes.yaml":
		for _, d := range outcome.Deltas {
			for _, r := range d.Changed {
				if r.Type == typeListener {
					writeDocument(t, &out, "", withoutFields(t, asJSON(t, r), unshaped...))
				}
			}
		}
	case "policies.yaml":
		for _, s := range outcome.Statuses {
			if _, ok := s.Object.(policies.Object); ok {
				writeDocument(t, &out, keyOf(s.Object), []byte(s.encoded))
			}
		}
	case "envoyproxies.yaml":
		for _, s := range outcome.Statuses {
			if ep, ok := s.Object.(*v1alpha1.EnvoyProxy); ok {
				next, _ := s.Merge(controllerName, ep, metav1.Time{})
				text, err := json.Marshal(next.(*v1alpha1.EnvoyProxy).Status)
				if err != nil {
					t.Fatal(err)
				}
				writeDocument(t, &out, keyOf(ep), text)
			}
		}
	case "sockets.yaml":
		for _, d := range outcome.Deltas {
			for _, r := range d.Changed {
				if r.Type == typeListener {
					writeSockets(t, &out, r)
				}
			}
		}
	case "hosts.yaml":
		for _, d := range outcome.Deltas {
			for _, r := range d.Changed {
				if r.Type == typeRoutes {
					writeHosts(t, &out, r)
				}
			}
		}
	case "protocols.yaml":
		for _, d := range outcome.Deltas {
			for _, r := range d.Changed {
				if r.Type == typeCluster {
					writeProtocol(t, &out, r)
				}
			}
		}
	default:
		for _, d := range outcome.Deltas {
			for _, r := range d.Changed {
				if r.Type == parts[name] {
					writeDocument(t, &out, "", asJSON(t, r))
				}
			}
		}
	}
	return out.Bytes()
}

// unshaped are the fields of listeners that no policy sets.
var unshaped = []string{
	"address", "cluster", "filterChainMatch", "http2ProtocolOptions", "listenerFilters", "maxConnectAttempts", "rds",
	"serverHeaderTransformation", "statPrefix",
	"stripTrailingHostDot", "transportSocket", "upgradeConfigs", "useRemoteAddress",
}

// writeAddress writes where a listener listens.
func writeAddress(t *testing.T, out *bytes.Buffer, r *Resource) {
	l := unpacked[*listenerv3.Listener](t, r)
	text, err := protojson.Marshal(l.Address.GetSocketAddress())
	if err != nil {
		t.Fatal(err)
	}
	writeDocument(t, out, r.Name, text)
}

// unpacked is the message of a resource.
func unpacked[M proto.Message](t *testing.T, r *Resource) M {
	t.Helper()
	m, err := r.message()
	if err != nil {
		t.Fatal(err)
	}
	return m.(M)
}

// writeSockets writes how each filter chain of a listener speaks to its clients.
func writeSockets(t *testing.T, out *bytes.Buffer, r *Resource) {
	l := unpacked[*listenerv3.Listener](t, r)
	for _, chain := range l.FilterChains {
		text, err := protojson.Marshal(chain.TransportSocket)
		if err != nil {
			t.Fatal(err)
		}
		writeDocument(t, out, chain.Name, text)
	}
}

// writeHosts writes what holds for all routes of a virtual host.
func writeHosts(t *testing.T, out *bytes.Buffer, r *Resource) {
	config := unpacked[*routev3.RouteConfiguration](t, r)
	for _, host := range config.VirtualHosts {
		host.Routes = nil
		text, err := protojson.Marshal(host)
		if err != nil {
			t.Fatal(err)
		}
		writeDocument(t, out, "", text)
	}
}

// writeProtocol writes what a cluster speaks to its endpoints.
func writeProtocol(t *testing.T, out *bytes.Buffer, r *Resource) {
	c := unpacked[*clusterv3.Cluster](t, r)
	text, err := protojson.Marshal(c.TypedExtensionProtocolOptions[httpOptions])
	if err != nil {
		t.Fatal(err)
	}
	writeDocument(t, out, r.Name, text)
}

func writeDocument(t *testing.T, out *bytes.Buffer, title string, document []byte) {
	text, err := yaml.JSONToYAML(document)
	if err != nil {
		t.Fatal(err)
	}
	if out.Len() > 0 {
		out.WriteString("---\n")
	}
	if title != "" {
		fmt.Fprintf(out, "# %s\n", title)
	}
	out.Write(text)
}

// asJSON decodes a resource and checks it with Envoy's own validation rules. What every connection manager, every route
// configuration with a catch-all and every virtual host holds is left out.
func asJSON(t *testing.T, r *Resource) []byte {
	m, err := unmarshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if v, ok := m.(interface{ ValidateAll() error }); ok {
		if err := v.ValidateAll(); err != nil {
			t.Errorf("%s is not valid for Envoy: %v", r.Name, err)
		}
	}
	if config, ok := m.(*routev3.RouteConfiguration); ok {
		for _, host := range config.VirtualHosts {
			host.RetryPolicy, host.TypedPerFilterConfig = nil, nil
		}
		config.VirtualHosts = slices.DeleteFunc(config.VirtualHosts,
			func(host *routev3.VirtualHost) bool { return host.Domains[0] == dotted })
	}
	text, err := protojson.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	omitted := []string{"accessLog", "httpFilters"}
	if r.Type == typeCluster {
		omitted = nil // Its filters are what features have added.
	}
	return withoutFields(t, text, omitted...)
}

// withoutFields is a document without what is the same in all of them, and would change in all of them at once.
func withoutFields(t *testing.T, document []byte, names ...string) []byte {
	var tree any
	if err := json.Unmarshal(document, &tree); err != nil {
		t.Fatal(err)
	}
	dropFields(tree, names...)
	text, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func unmarshal(r *Resource) (proto.Message, error) {
	mt, err := protoregistry.GlobalTypes.FindMessageByURL(r.Type)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", r.Type, err)
	}
	m := mt.New().Interface()
	if err := proto.Unmarshal(r.Body(), m); err != nil {
		return nil, fmt.Errorf("unmarshal %s: %w", r.Name, err)
	}
	return m, nil
}

func dropFields(tree any, names ...string) {
	switch node := tree.(type) {
	case map[string]any:
		for _, n := range names {
			delete(node, n)
		}
		for _, child := range node {
			dropFields(child, names...)
		}
	case []any:
		for _, child := range node {
			dropFields(child, names...)
		}
	}
}
