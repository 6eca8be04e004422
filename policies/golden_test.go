package policies

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// update rewrites what the goldens expect: go test ./policies -run TestGolden -update.
var update = flag.Bool("update", false, "rewrite the expected parts of the goldens")

// golden is one file: a paragraph with a promise to users, a policy, and the result.
type golden struct {
	path    string
	archive *txtar.Archive
	kind    Kind
	policy  Object
	// have answers the policy's needs, by the files named have/FIELD after the policy.
	have feature.Have
	// feature is the one that the file's folder is named after.
	feature bound
}

// TestGolden compares the results of each feature for the policies in its folder: the parts of Envoy's configuration
// that the feature sets, or the message of the denial. All of it must pass Envoy's own validation rules.
func TestGolden(t *testing.T) {
	for _, g := range goldens(t) {
		t.Run(strings.TrimSuffix(g.path, ".txtar"), func(t *testing.T) {
			if len(bytes.TrimSpace(g.archive.Comment)) == 0 {
				t.Fatal("the file does not begin with a paragraph that says what is promised")
			}
			want := g.archive.Files
			g.archive.Files = append(g.input(), g.outcome(t)...)
			if *update {
				if err := os.WriteFile(g.path, txtar.Format(g.archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(files(want), files(g.archive.Files)); diff != "" {
				t.Errorf("not what the file says (-file +now): make golden rewrites it:\n%s", diff)
			}
		})
	}
}

// goldens reads all files, sorted by name.
func goldens(t testing.TB) []golden {
	t.Helper()
	paths, err := filepath.Glob("*/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var read []golden
	for _, path := range paths {
		i := slices.IndexFunc(features, func(f bound) bool {
			return f.kind != ruleKind && f.name != "" && f.folder == filepath.Dir(path)
		})
		if i < 0 {
			t.Fatalf("%s: no feature of a policy has this folder, so nobody reads the file: write %s for a feature of rules",
				path,
				"a golden in translator/testdata")
		}
		read = append(read, readGolden(t, path, features[i]))
	}
	if len(read) == 0 {
		t.Fatal("no golden found")
	}
	return read
}

func readGolden(t testing.TB, path string, f bound) golden {
	t.Helper()
	archive, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(archive.Files) == 0 || archive.Files[0].Name != "policy.yaml" {
		t.Fatalf("%s: the first file is not policy.yaml", path)
	}
	var head metav1.TypeMeta
	if err := yaml.Unmarshal(archive.Files[0].Data, &head); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	for _, kind := range Kinds {
		if kind.Kind == head.Kind {
			policy := kind.New()
			if err := yaml.UnmarshalStrict(archive.Files[0].Data, policy); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			if unread := policy.GetUnread(); len(unread) > 0 {
				t.Fatalf("%s: fields that nobody reads: %v", path, unread)
			}
			g := golden{path: path, archive: archive, kind: kind, policy: policy, feature: f}
			for _, need := range kind.Needs(policy) {
				_ = answer(&g.have, &need, g.given(&need)) // What is wrong with it is in the outcome.
			}
			return g
		}
	}
	t.Fatalf("%s: kind %q is no policy", path, head.Kind)
	return golden{}
}

// input are the files that the outcome is made of.
func (g golden) input() []txtar.File {
	return slices.DeleteFunc(slices.Clone(g.archive.Files), func(f txtar.File) bool {
		return f.Name != "policy.yaml" && !strings.HasPrefix(f.Name, answers)
	})
}

// answers begins the names of files with what answers needs.
const answers = "have/"

// given is the content that answers a need.
func (g golden) given(need *feature.Need) []byte {
	if g.archive == nil {
		return nil
	}
	for _, f := range g.archive.Files {
		if f.Name == answers+need.Field {
			return f.Data
		}
	}
	return nil
}

// served reports whether the policy has no problem, and has what it needs.
func (g golden) served() bool {
	return !verdict.Has(g.kind.Check(g.policy), verdict.Invalid) &&
		!slices.ContainsFunc(g.kind.Needs(g.policy), func(n feature.Need) bool {
			return answer(&feature.Have{}, &n, g.given(&n)) != nil
		})
}

// outcome is the result of the policy, as files of the archive.
func (g golden) outcome(t *testing.T) []txtar.File {
	t.Helper()
	if problems := g.feature.check(g.policy); verdict.Has(problems, verdict.Invalid) {
		return []txtar.File{{Name: "denied.txt", Data: words(problems)}}
	}
	var parts []txtar.File
	if problems := g.kind.Check(g.policy); len(problems) > 0 {
		parts = append(parts, txtar.File{Name: "warned.txt", Data: words(problems)})
	}
	for _, need := range g.feature.needs(g.policy) {
		text := describe(&need)
		err := answer(&feature.Have{}, &need, g.given(&need))
		if err != nil {
			text = fmt.Sprintf("%s: %v\nWhat the policy covers is not served.\n", need.Field, err)
		}
		parts = append(parts, txtar.File{Name: "needs.txt", Data: []byte(text)})
		if err != nil {
			return parts[len(parts)-1:]
		}
		if need.Limits != nil && need.Limits.Config != nil {
			parts = append(parts, part(t, "rate_limit_service.yaml", need.Limits.Config("shop/web")))
		}
	}
	validate(t, g.buildCluster("backend"))
	validate(t, g.buildRoute("backend"))
	with, without := feature.NewUpstream(), feature.NewUpstream()
	with.Modules = loadable
	g.feature.cluster(g.policy, g.have, with)
	g.feature.cluster(nil, feature.Have{}, without)
	if !proto.Equal(with.Cluster, without.Cluster) {
		parts = append(parts, part(t, "cluster.yaml", with.Cluster))
	}
	if !proto.Equal(with.HTTP, without.HTTP) {
		parts = append(parts, part(t, "upstream_http.yaml", with.HTTP))
	}
	if with.HTTP2 != nil {
		parts = append(parts, part(t, "upstream_http2.yaml", with.HTTP2))
	}
	if with.DNS != nil {
		parts = append(parts, part(t, "dns.yaml", with.DNS))
	}
	if diff := cmp.Diff(without.Endpoints, with.Endpoints); diff != "" {
		parts = append(parts, txtar.File{Name: "endpoints.txt", Data: fmt.Appendf(nil, "%+v\n", with.Endpoints)})
	}
	route := &routev3.Route{Action: &routev3.Route_Route{Route: &routev3.RouteAction{}}}
	g.feature.route(g.policy, g.have, &feature.Route{Route: route, Owner: "shop/orders"})
	if proto.Size(route.GetRoute()) == 0 {
		route.Action = nil
	}
	if proto.Size(route) > 0 {
		parts = append(parts, part(t, "route.yaml", route))
	}
	connection := feature.Connection{}
	g.feature.connection(g.policy, g.have, &connection)
	if sources := connection.Sources; sources != nil {
		parts = append(parts, txtar.File{Name: "sources.txt", Data: fmt.Appendf(nil, "allowed %v\ndenied %v\n",
			sources.Allowed, sources.Denied)})
	}
	return append(parts, g.listenerParts(t)...)
}

// loadable are the modules that the Envoys of goldens have.
var loadable = feature.Modules{{Name: "shop", Source: v1alpha1.DynamicModuleSource{
	Local: &v1alpha1.LocalDynamicModule{Path: "/modules/libshop.so"},
}}}

func words(problems []verdict.Problem) []byte {
	var text strings.Builder
	for _, p := range problems {
		text.WriteString(p.String() + "\n")
	}
	return []byte(text.String())
}

// listenerParts are the parts of a listener that terminates TLS which the feature sets differently for the policy.
func (g golden) listenerParts(t *testing.T) (parts []txtar.File) {
	validate(t, g.buildListener("listener", &routev3.RouteConfiguration{Name: "routes"}))
	with, without := terminating(), terminating()
	g.feature.listener(g.policy, g.have, with)
	g.feature.listener(nil, feature.Have{}, without)
	for _, m := range []struct {
		file          string
		with, without proto.Message
	}{
		{"listener.yaml", with.Socket, without.Socket},
		{"tls_inspector.yaml", with.Inspector, without.Inspector},
		{"filter_chain.yaml", with.Chain, without.Chain},
		{"tls.yaml", with.TLS, without.TLS},
		{"clients.yaml", with.Clients, without.Clients},
		{"connection_manager.yaml", with.Manager, without.Manager},
		{"router.yaml", with.Router, without.Router},
		{"tcp_proxy.yaml", with.Proxy, without.Proxy},
	} {
		if !proto.Equal(m.with, m.without) {
			parts = append(parts, part(t, m.file, m.with))
		}
	}
	if with.GRPCWeb != nil {
		parts = append(parts, txtar.File{Name: "grpc_web.txt", Data: fmt.Appendf(nil, "%t\n", *with.GRPCWeb)})
	}
	if with.QUIC != without.QUIC {
		parts = append(parts, txtar.File{Name: "quic.txt", Data: fmt.Appendf(nil, "%t\n", with.QUIC)})
	}
	return parts
}

func terminating() *feature.Listener {
	l := feature.NewListener()
	l.Host = "shop.test"
	l.TLS = &tlsv3.DownstreamTlsContext{}
	return l
}

// part is a message in YAML.
func part(t *testing.T, name string, message proto.Message) txtar.File {
	t.Helper()
	encoded, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(message)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	text, err := yaml.JSONToYAML(encoded)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return txtar.File{Name: name, Data: text}
}

func files(list []txtar.File) map[string]string {
	text := map[string]string{}
	for _, f := range list {
		text[f.Name] = string(f.Data)
	}
	return text
}
