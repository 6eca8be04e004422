package policies

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"gatehouse/api/crdtest"
	"gatehouse/api/fieldtest"
	"gatehouse/policies/feature"
)

// elsewhere are the fields that several kinds have, with where they are described.
var elsewhere = map[string]string{
	"targetRef": "[Targets](Targets.md)", "targetRefs": "[Targets](Targets.md)", "targetSelectors": "[Targets](Targets.md)",
	"mergeType": "[Targets](Targets.md)", "backendSettings": "as in [BackendTrafficPolicy](BackendTrafficPolicy.md)",
	"spec.rateLimit.local.rules[].limit.fromMetadata": "[refused](../../policies/ratelimit/impossible_global.txtar)",
	"spec.rateLimit.local.rules[].cost.response":      "[refused](../../policies/ratelimit/impossible_global.txtar)",
	"backendRef":  "[ext-auth-backends](../../translator/testdata/ext-auth-backends.txtar)",
	"backendRefs": "[ext-auth-backends](../../translator/testdata/ext-auth-backends.txtar)",
}

// inert are the fields that change nothing: what one says is so without it, and the others are always refused.
var inert = fieldtest.Effects{
	"spec.clientIPDetection.directSourceIP": {
		Example: "../../policies/clientclientipdetection/direct.txtar", Settings: []string{"nothing"},
	},
	"spec.responseOverride[].redirect.path.replacePrefixMatch": refused,
	"spec.responseOverride[].response.header.remove":           refused,
}

var refused = fieldtest.Effect{Example: "../../policies/responseoverride/impossible.txtar", Settings: []string{"refused"}}

// TestFieldsPages holds docs/fields to the goldens: every field of a policy changes the result of one of them.
func TestFieldsPages(t *testing.T) {
	for _, kind := range Kinds {
		if kind.Unserved {
			continue
		}
		t.Run(kind.Kind, func(t *testing.T) {
			fields, err := fieldtest.Fields(kind.Kind)
			if err != nil {
				t.Fatal(err)
			}
			kinds, err := crdtest.Kinds(func(gvk schema.GroupVersionKind) bool { return gvk.Kind == kind.Kind })
			if err != nil || len(kinds) != 1 {
				t.Fatalf("%d kinds, error %v", len(kinds), err)
			}
			effects := maps.Clone(inert)
			for _, g := range goldens(t) {
				if g.kind.Kind == kind.Kind && g.served() && len(kind.checkForwarded(g.policy)) == 0 {
					g.effects(t, kinds[0], fields, effects)
				}
			}
			page, missing := fieldtest.Page(kind.Kind, fields, effects, elsewhere)
			if len(missing) > 0 {
				t.Errorf("no golden shows %s", strings.Join(missing, "\n"))
			}
			if err := fieldtest.Hold("../docs/fields/"+kind.Kind+".md", page, *update); err != nil {
				t.Error(err)
			}
		})
	}
}

// effects adds what each field of the policy changes.
func (g golden) effects(t *testing.T, kind *crdtest.Kind, fields []fieldtest.Field, effects fieldtest.Effects) {
	t.Helper()
	object, err := fieldtest.Read(g.archive.Files[0].Data)
	if err != nil {
		t.Fatal(err)
	}
	if !kind.Admits(object) {
		t.Errorf("the API server refuses %s: %v", g.path, kind.Validate(object))
		return
	}
	effects.Find(object, fields, "../../policies/"+g.path, func(changed map[string]any) map[string]any {
		if changed != nil && !kind.Admits(changed) {
			return nil
		}
		if changed == nil {
			return map[string]any{}
		}
		return g.with(t, changed)
	})
}

// messages are the files of an outcome that are messages of Envoy, by the name of the message.
var messages = map[string]string{
	"cluster.yaml": "Cluster", "upstream_http.yaml": "HttpProtocolOptions", "upstream_http2.yaml": "Http2ProtocolOptions",
	"dns.yaml": "DnsCluster", "endpoints.txt": "LbEndpoint", "route.yaml": "Route", "sources.txt": "RBAC", "listener.yaml": "Listener",
	"tls_inspector.yaml": "TlsInspector", "filter_chain.yaml": "FilterChain", "tls.yaml": "DownstreamTlsContext",
	"clients.yaml": "CertificateValidationContext", "connection_manager.yaml": "HttpConnectionManager", "router.yaml": "Router",
	"tcp_proxy.yaml": "TcpProxy", "grpc_web.txt": "GrpcWeb", "quic.txt": "QuicProtocolOptions", "needs.txt": "references", "rate_limit_service.yaml": "RateLimitConfig", "warned.txt": fieldtest.Warning,
}

// with is the result of the golden with another policy: trees by the names of Envoy's messages. It is nil if the policy is
// not served.
func (g golden) with(t *testing.T, object map[string]any) map[string]any {
	t.Helper()
	text, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	policy := g.kind.New()
	if err := json.Unmarshal(text, policy); err != nil {
		return nil
	}
	g.policy, g.have = policy, feature.Have{}
	g.archive = &txtar.Archive{Files: slices.Clone(g.archive.Files)}
	for _, need := range g.kind.Needs(policy) {
		_ = answer(&g.have, &need, g.given(&need))
	}
	if !g.served() {
		return nil
	}
	result := map[string]any{}
	for _, file := range g.outcome(t) {
		name, ok := messages[file.Name]
		if !ok {
			continue
		}
		text, _ := result[name].(string)
		var tree any = text + string(file.Data) // Each need has a file of the same name.
		if strings.HasSuffix(file.Name, ".yaml") {
			if err := yaml.Unmarshal(file.Data, &tree); err != nil {
				t.Fatal(err)
			}
		}
		result[name] = tree
	}
	return result
}
