package manifests

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/infra/kubetest"
	"gatehouse/policies/admissionrule"
)

var server kubetest.Server

func TestMain(m *testing.M) {
	kubetest.Run(m, &server, "bin/gateway-api-crds.yaml", "manifests/gatehouse-crds/files")
}

// TestFinalizersGoWhileNobodyCanJudge: with failurePolicy Fail and no control plane, what is being deleted can lose its
// finalizers, or namespaces would never end; all else is refused.
func TestFinalizersGoWhileNobodyCanJudge(t *testing.T) {
	c := server.Client(t)
	class := &gwapiv1.GatewayClass{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "judged-", Finalizers: []string{"example.com/held"}},
		Spec:       gwapiv1.GatewayClassSpec{ControllerName: "example.com/controller"},
	}
	if err := c.Create(t.Context(), class); err != nil {
		t.Fatal(err)
	}
	unjudged(t, c, "validate.gatehouse.dev") // Admission sets Fail on no other one.
	relabel := func(value string) error {
		changed := class.DeepCopy()
		changed.Labels = map[string]string{"changed": value}
		return c.Patch(t.Context(), changed, client.MergeFrom(class))
	}
	var err error
	for i := range 100 { // The API server hears of its webhooks after a moment.
		if err = relabel(fmt.Sprint(i)); err != nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if err == nil || !strings.Contains(err.Error(), "validate.gatehouse.dev") {
		t.Fatalf("an object that nobody can judge: %v", err)
	}
	if err := c.Delete(t.Context(), class); err != nil {
		t.Fatal(err)
	}
	freed := class.DeepCopy()
	freed.Finalizers = nil
	if err := c.Patch(t.Context(), freed, client.MergeFrom(class)); err != nil {
		t.Errorf("the finalizer of what is being deleted: %v", err)
	}
}

// deleteAfter deletes an object when the test has ended.
func deleteAfter(t *testing.T, c client.Client, o client.Object) {
	ctx := context.WithoutCancel(t.Context())
	t.Cleanup(func() {
		if err := c.Delete(ctx, o); err != nil {
			t.Error(err)
		}
	})
}

// unjudged installs the chart's webhooks, as if they failed closed, with nobody to answer them.
func unjudged(t *testing.T, c client.Client, fail ...string) {
	t.Helper()
	for _, obj := range decode(t, helmTemplate(t, "gatehouse")) {
		config, ok := obj.(*admissionv1.ValidatingWebhookConfiguration)
		if !ok {
			continue
		}
		for i := range config.Webhooks {
			if len(fail) == 0 || slices.Contains(fail, config.Webhooks[i].Name) {
				config.Webhooks[i].FailurePolicy = new(admissionv1.Fail)
			}
		}
		if err := c.Create(t.Context(), config); err != nil {
			t.Fatal(err)
		}
		deleteAfter(t, c, config)
	}
}

// TestWhatIsAskedAboutOthers: the webhook is asked about what may take traffic away, and about nothing that the
// controllers of Kubernetes delete. Nobody answers here, so whatever is asked about fails.
func TestWhatIsAskedAboutOthers(t *testing.T) {
	c := server.Client(t)
	controller := rest.CopyConfig(server.Config(t))
	controller.Impersonate = rest.ImpersonationConfig{
		UserName: "system:serviceaccount:kube-system:namespace-controller", Groups: []string{"system:masters"},
	}
	kubernetes, err := client.New(controller, client.Options{Scheme: c.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	made := func(o client.Object) client.Object {
		o.SetName("others")
		if _, cluster := o.(*corev1.Namespace); !cluster {
			o.SetNamespace("default")
		}
		err := c.Create(t.Context(), o)
		for i := 0; i < 100 && err != nil; i++ { // The webhooks of another test may still be asked.
			time.Sleep(100 * time.Millisecond)
			err = c.Create(t.Context(), o)
		}
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	labelled := made(&corev1.Namespace{}).DeepCopyObject().(client.Object)
	asked := map[string]client.Object{
		"a Gateway": made(&gwapiv1.Gateway{Spec: gwapiv1.GatewaySpec{
			GatewayClassName: "none", Listeners: []gwapiv1.Listener{{Name: "http", Protocol: "HTTP", Port: 80}},
		}}),
		"a Service":   made(&corev1.Service{Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}),
		"authorities": made(&corev1.ConfigMap{Data: map[string]string{"ca.crt": "x"}}),
	}
	settings := made(&corev1.Secret{Data: map[string][]byte{"user": nil, "password": nil}})
	unjudged(t, c)
	fails := func(what string, do func() error, want bool) {
		t.Helper()
		err := do()
		for i := 0; i < 100 && want && err == nil; i++ { // The API server hears of its webhooks after a moment.
			time.Sleep(100 * time.Millisecond)
			err = do()
		}
		if failed := err != nil && strings.Contains(err.Error(), "validate.gatehouse.dev"); failed != want || !want && err != nil {
			t.Errorf("%s: %v, want the webhook asked: %t", what, err, want)
		}
	}
	mark := func(label string) func() error {
		return func() error {
			changed := labelled.DeepCopyObject().(client.Object)
			changed.SetLabels(map[string]string{"kubernetes.io/metadata.name": "others", "changed": label})
			changed.SetAnnotations(map[string]string{"changed": fmt.Sprint(time.Now())})
			if label == "" {
				changed.SetLabels(labelled.GetLabels())
			}
			return c.Patch(t.Context(), changed, client.MergeFrom(labelled), client.DryRunAll)
		}
	}
	fails("a label of a Namespace", mark("yes"), true)
	fails("an annotation of a Namespace", mark(""), false)
	for what, o := range asked {
		fails("the deletion of "+what, func() error { return c.Delete(t.Context(), o, client.DryRunAll) }, true)
		fails("its deletion by Kubernetes", func() error { return kubernetes.Delete(t.Context(), o) }, false)
	}
	fails("the deletion of another Secret", func() error { return c.Delete(t.Context(), settings) }, false)
}

// TestClientCA: the control plane is given the CA of the API server's client certificate if there is one, where it is
// told to look for it.
func TestClientCA(t *testing.T) {
	const pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
	file := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(file, []byte(pem), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, given := range []bool{true, false} {
		var args []string
		if given {
			args = []string{"--set-file=admission.clientCA=" + file}
		}
		var mounted, asked bool
		for _, obj := range decode(t, helmTemplate(t, "gatehouse", args...)) {
			switch obj := obj.(type) {
			case *corev1.ConfigMap:
				mounted = obj.Data["webhook-client-ca.crt"] == pem
			case *appsv1.Deployment:
				asked = slices.Contains(obj.Spec.Template.Spec.Containers[0].Args,
					"--webhook-client-ca=/config/webhook-client-ca.crt")
			}
		}
		if mounted != given || asked != given {
			t.Errorf("given %t: in the ConfigMap %t, asked for %t", given, mounted, asked)
		}
	}
}

// TestNotesSayWhatIsProtected: whoever installs the chart reads how objects are judged, and what happens when nobody
// can.
func TestNotesSayWhatIsProtected(t *testing.T) {
	for values, want := range map[string]string{
		"":                                   "are refused from\nthen on (admission.failurePolicy=Auto)",
		"deployment.replicas=1":              "Auto needs two replicas to fail closed, and there is one",
		"hpa.enabled=true,hpa.minReplicas=1": "Auto needs two replicas to fail closed, and there is one",
		"admission.failurePolicy=Ignore":     "are stored without being judged (admission.failurePolicy=Ignore)",
		"admission.failurePolicy=Fail":       "are refused (admission.failurePolicy=Fail).\n",
		"admission.failurePolicy=Fail,deployment.replicas=1": "With one replica that is so at each of its restarts.",
		"admission.level=strict":                             "answered at level strict",
		"admission.level=off":                                "Protection: none at kubectl apply, except",
		"admission.enabled=false":                            "Protection: none at kubectl apply. Admission is off",
	} {
		out, err := exec.Command(helm(t), "install", "gatehouse", "gatehouse", "--dry-run=client",
			"--set-json=commonLabels={}", "--set="+values).CombinedOutput()
		if _, notes, _ := strings.Cut(string(out), "\nNOTES:\n"); err != nil || !strings.Contains(notes, want) {
			t.Errorf("with %q: %v, the notes lack %q:\n%s", values, err, want, notes)
		}
	}
}

// TestImagesOfTheChart: an image may have a tag, a digest or both, and no second one.
func TestImagesOfTheChart(t *testing.T) {
	digest := "@sha256:" + strings.Repeat("a", 64)
	for image, fits := range map[string]bool{
		"gatehouse": true, "localhost:5000/gatehouse:v1": true, "gatehouse" + digest: true, "example.com/edge/gatehouse:v1" +
			digest: true,
		"gatehouse:v1:v2": false, "gatehouse" + digest + digest: false, "example.com/edge:v1/gatehouse": false,
		"gatehouse@v1": false,
	} {
		for _, value := range []string{"gatehouse", "envoyProxy"} {
			out, err := exec.Command(helm(t), "template", "gatehouse", "gatehouse",
				"--set=global.images."+value+".image="+image).CombinedOutput()
			if (err == nil) != fits {
				t.Errorf("image %s as %s: %v\n%s", image, value, err, out[:min(len(out), 300)])
			}
		}
	}
}

// resourcesOf are the resources of a webhook with their versions and groups.
func resourcesOf(rules []admissionv1.RuleWithOperations) (all []string) {
	for _, rule := range rules {
		for _, resource := range rule.Resources {
			all = append(all, resource+"."+rule.APIVersions[0]+"."+rule.APIGroups[0])
		}
	}
	return all
}

// TestRulesAreAskedAbout: the API server sends each kind that rules of the platform can be about, also to be mutated, and
// also from namespaces with level off. It sends deletions of all of them, and nobody is kept from deleting because of the webhook.
func TestRulesAreAskedAbout(t *testing.T) {
	sent, deleted := map[string][]string{}, map[string]bool{}
	for _, obj := range decode(t, helmTemplate(t, "gatehouse")) {
		if mutating, ok := obj.(*admissionv1.MutatingWebhookConfiguration); ok {
			for _, w := range mutating.Webhooks {
				sent[w.Name] = append(sent[w.Name], resourcesOf(w.Rules)...)
			}
		}
		config, ok := obj.(*admissionv1.ValidatingWebhookConfiguration)
		if !ok {
			continue
		}
		for _, w := range config.Webhooks {
			for _, rule := range w.Rules {
				for _, resource := range rule.Resources {
					kind := resource + "." + rule.APIVersions[0] + "." + rule.APIGroups[0]
					sent[w.Name] = append(sent[w.Name], kind)
					deletes := slices.Contains(rule.Operations, admissionv1.Delete)
					deleted[kind] = deleted[kind] || deletes
					if deletes && *w.FailurePolicy != admissionv1.Ignore {
						t.Errorf("%s: nobody can delete %s while nobody can judge", w.Name, kind)
					}
				}
			}
		}
	}
	var want []string
	for _, r := range admissionrule.Resources {
		kind := r.Name + "." + r.Version + "." + r.Group
		if !r.Partial {
			want = append(want, kind)
		}
		if !deleted[kind] {
			t.Errorf("deletions of %s are not sent", kind)
		}
	}
	if diff := cmp.Diff(want, sent["mutate.gatehouse.dev"]); diff != "" {
		t.Errorf("for mutations (-want +got):\n%s", diff)
	}
	const exceptions = "admissionexceptions.v1alpha1.gatehouse.dev"
	if diff := cmp.Diff(append(slices.Clone(want), exceptions), sent["off.validate.gatehouse.dev"]); diff != "" {
		t.Errorf("at level off (-want +got):\n%s", diff)
	}
	want = append(want, "admissionrules.v1alpha1.gatehouse.dev", exceptions)
	if diff := cmp.Diff(want, sent["validate.gatehouse.dev"]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
