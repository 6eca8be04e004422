package kube

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	acmev1 "github.com/cert-manager/cert-manager/pkg/apis/acme/v1"
	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/yaml"

	"gatehouse/policies/rules"
	"gatehouse/translator"
)

// TestDefinitionsOfCertManager: its kinds are looked for under the names of its own CRDs, in a version that they serve.
func TestDefinitionsOfCertManager(t *testing.T) {
	module, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/cert-manager/cert-manager").Output()
	if err != nil {
		t.Fatal(err)
	}
	scheme, found := NewScheme(), 0
	for _, kind := range Kinds() {
		gvk, err := apiutil.GVKForObject(kind.Object, scheme)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(gvk.Group, "cert-manager.io") {
			continue
		}
		found++
		plural, _, _ := strings.Cut(DefinitionOf(gvk), ".")
		text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(module)), "deploy/crds", gvk.Group+"_"+plural+".yaml"))
		if err != nil {
			t.Fatal(err)
		}
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.Unmarshal(text, crd); err != nil {
			t.Fatal(err)
		}
		if crd.Name != DefinitionOf(gvk) || !kind.Optional || !slices.ContainsFunc(crd.Spec.Versions,
			func(v apiextensionsv1.CustomResourceDefinitionVersion) bool { return v.Served && v.Name == gvk.Version }) {
			t.Errorf("kind %s is looked for as CRD %s in version %s; there is %s", gvk.Kind, DefinitionOf(gvk), gvk.Version, crd.Name)
		}
	}
	if found != 6 {
		t.Errorf("%d kinds of cert-manager are watched", found)
	}
}

// TestHeldIssuancesMeanTheSame: what the caches keep of cert-manager's objects gives the same problems and the same
// resources of Envoy as the whole objects.
func TestHeldIssuancesMeanTheSame(t *testing.T) {
	goldens, err := filepath.Glob("../../translator/testdata/cert-manager-*.txtar")
	if err != nil || len(goldens) == 0 {
		t.Fatalf("no goldens: %v", err)
	}
	for _, golden := range goldens {
		archive, err := txtar.ParseFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		held, cut := outcomeOf(t, archive.Files[0].Data, true)
		whole, _ := outcomeOf(t, archive.Files[0].Data, false)
		if diff := cmp.Diff(whole, held); diff != "" || cut == 0 {
			t.Errorf("%s (%d objects of cert-manager): -whole +held\n%s", golden, cut, diff)
		}
	}
}

// outcomeOf lists the problems and the versions of the resources for the objects of a YAML stream, as they are or as the
// caches hold them, and counts those of cert-manager.
func outcomeOf(t *testing.T, stream []byte, held bool) (lines []string, cut int) {
	t.Helper()
	engine, err := rules.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	world := translator.NewWorld(translator.NewTables(translator.Settings{
		ControllerName: "gateway.envoyproxy.io/gatewayclass-controller",
	}, engine))
	decoder := serializer.NewCodecFactory(NewScheme()).UniversalDeserializer()
	var events []translator.Event
	for i, document := range strings.Split(string(stream), "\n---\n") {
		o, _, err := decoder.Decode([]byte(document), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		object := o.(translator.Object)
		if object.GetUID() == "" {
			object.SetUID(types.UID(fmt.Sprint(i)))
		}
		object.SetGeneration(1)
		if kept := onlyIssuance(object); kept != nil {
			if cut++; held {
				object = kept
			}
		}
		events = append(events, translator.Event{Object: object})
	}
	outcome, err := world.Apply(events)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range outcome.Statuses {
		for _, p := range s.Problems {
			lines = append(lines, fmt.Sprintf("%s %s %s %s", s.Object.GetName(), p.Weight, p.Condition, p))
		}
	}
	for _, d := range outcome.Deltas {
		for _, r := range d.Changed {
			lines = append(lines, r.Name+" "+r.Version)
		}
	}
	return lines, cut
}

// TestNoSecretsOfIssuersAreHeld: of requests, certificates, templates and access to servers nothing stays in memory. The
// time of the next renewal stays, because the status tells of late renewals.
func TestNoSecretsOfIssuersAreHeld(t *testing.T) {
	issuer := &cmv1.ClusterIssuer{}
	issuer.Spec.Vault = &cmv1.VaultIssuer{Server: "https://vault.example.com"}
	issuer.Spec.ACME = &acmev1.ACMEIssuer{Email: "ops@example.com", Solvers: []acmev1.ACMEChallengeSolver{{
		DNS01: &acmev1.ACMEChallengeSolverDNS01{Cloudflare: &acmev1.ACMEIssuerDNS01ProviderCloudflare{Email: "ops@example.com"}},
	}}}
	request := &cmv1.CertificateRequest{}
	request.Spec.Request, request.Status.Certificate = []byte("request"), []byte("certificate")
	request.Annotations = map[string]string{cmv1.CertificateRequestRevisionAnnotationKey: "3", "other": "long"}
	request.Status.Conditions = []cmv1.CertificateRequestCondition{{Type: "Ready", Status: cmmeta.ConditionTrue}}
	certificate := &cmv1.Certificate{Spec: cmv1.CertificateSpec{SecretName: "tls", DNSNames: []string{"example.com"}}}
	certificate.Status.RenewalTime = new(metav1.Now())
	for _, c := range []struct{ given, want any }{
		{certificate, &cmv1.Certificate{
			Spec:   cmv1.CertificateSpec{SecretName: "tls"},
			Status: cmv1.CertificateStatus{RenewalTime: certificate.Status.RenewalTime},
		}},
		{issuer, &cmv1.ClusterIssuer{Spec: cmv1.IssuerSpec{IssuerConfig: cmv1.IssuerConfig{ACME: &acmev1.ACMEIssuer{
			Solvers: []acmev1.ACMEChallengeSolver{{DNS01: &acmev1.ACMEChallengeSolverDNS01{}}},
		}}}}},
		{request, func() any {
			kept := &cmv1.CertificateRequest{Status: cmv1.CertificateRequestStatus{Conditions: request.Status.Conditions}}
			kept.Annotations = map[string]string{cmv1.CertificateRequestRevisionAnnotationKey: "3"}
			return kept
		}()},
	} {
		got, err := byDefault(c.given)
		if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
			t.Errorf("%T: %v\n%s", c.given, err, diff)
		}
	}
}
