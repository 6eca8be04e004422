package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/gateway-api/conformance"
	"sigs.k8s.io/gateway-api/conformance/tests"
	"sigs.k8s.io/gateway-api/conformance/utils/suite"
	"sigs.k8s.io/yaml"
)

// manifest is an object of the suite and the file it comes from.
type manifest struct {
	from   string
	object *unstructured.Unstructured
}

func (m manifest) String() string {
	return fmt.Sprintf("%s %s", m.object.GetKind(), client.ObjectKeyFromObject(m.object))
}

// refusal is an object that level enforce denies, and why.
type refusal struct {
	object, from string
	problems     []string
}

// foundation are the kinds that others refer to, and that are stored before any of these is judged.
var foundation = []string{"Namespace", "Secret", "ConfigMap", "Service", "ReferenceGrant"}

// writeRefusals sends each object of the suite once more, as a dry run into namespaces of level enforce in which all
// that it may refer to is stored, and puts what was denied into a page. What was not seen yet can only be missed, so
// all are sent until two rounds agree.
func writeRefusals(t *testing.T, options *suite.ConformanceOptions, path string) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	all, err := manifests(options)
	if err == nil {
		err = lay(ctx, options.Client, all)
	}
	if err != nil {
		t.Errorf("store what the suite's objects refer to: %v", err)
		return
	}
	last, err := judge(ctx, options.Client, all)
	for err == nil {
		var again []refusal
		if again, err = judge(ctx, options.Client, all); err == nil && reflect.DeepEqual(again, last) {
			break
		}
		last = again
	}
	if err == nil {
		err = os.WriteFile(path, page(last), 0o644)
	}
	if err != nil {
		t.Errorf("write what level enforce denies: %v", err)
	}
}

// manifests are the objects of the base and of all tests for Gateways, as the suite sends them.
func manifests(options *suite.ConformanceOptions) ([]manifest, error) {
	paths := []string{"base/manifests.yaml"}
	for _, test := range tests.ConformanceTests {
		if gatewayFeatures().HasAll(test.Features...) {
			paths = append(paths, test.Manifests...)
		}
	}
	slices.Sort(paths)
	class := strings.NewReplacer("{GATEWAY_CLASS_NAME}", options.GatewayClassName)
	var all []manifest
	for _, path := range slices.Compact(paths) {
		text, err := fs.ReadFile(conformance.Manifests, path)
		if err != nil {
			return nil, fmt.Errorf("read the suite's manifests: %w", err)
		}
		for document := range strings.SplitSeq(class.Replace(string(text)), "\n---") {
			o := &unstructured.Unstructured{}
			if err := yaml.Unmarshal([]byte(document), &o.Object); err != nil {
				return nil, fmt.Errorf("decode %s: %w", path, err)
			}
			if err := insertAddresses(o, options); err != nil {
				return nil, fmt.Errorf("insert addresses into %s: %w", path, err)
			}
			if o.GetKind() != "" && o.GetKind() != "GatewayClass" {
				all = append(all, manifest{path, o})
			}
		}
	}
	return all, nil
}

// insertAddresses puts the addresses of this run where a Gateway has the suite's words for them.
func insertAddresses(o *unstructured.Unstructured, options *suite.ConformanceOptions) error {
	list, found, err := unstructured.NestedSlice(o.Object, "spec", "addresses")
	if !found || o.GetKind() != "Gateway" {
		return err
	}
	pools := map[any][]gwapiv1.GatewaySpecAddress{
		"PLACEHOLDER_USABLE_ADDRS":   options.UsableNetworkAddresses,
		"PLACEHOLDER_UNUSABLE_ADDRS": options.UnusableNetworkAddresses,
	}
	var inserted []any
	for _, item := range list {
		address, _ := item.(map[string]any)
		pool, ours := pools[address["value"]]
		if !ours {
			inserted = append(inserted, item)
		}
		for _, a := range pool {
			inserted = append(inserted, map[string]any{"type": string(*a.Type), "value": a.Value})
		}
	}
	return unstructured.SetNestedSlice(o.Object, inserted, "spec", "addresses")
}

// lay stores the foundation, in namespaces of level enforce.
func lay(ctx context.Context, c client.Client, all []manifest) error {
	for _, kind := range foundation {
		for _, m := range all {
			if m.object.GetKind() != kind {
				continue
			}
			var err error
			if kind == "Namespace" {
				err = enforce(ctx, c, m.object)
			} else if err = c.Create(ctx, m.object.DeepCopy()); apierrors.IsAlreadyExists(err) {
				err = nil
			}
			if err != nil {
				return fmt.Errorf("store %s: %w", m, err)
			}
		}
	}
	return nil
}

// enforce makes a namespace of level enforce, or one that is there to one. Those of the tests are being deleted when
// the suite ends, so it waits until they are gone.
func enforce(ctx context.Context, c client.Client, namespace *unstructured.Unstructured) error {
	for ; ; time.Sleep(100 * time.Millisecond) {
		err := c.Create(ctx, namespace.DeepCopy())
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
		const label = `{"metadata":{"labels":{"gatehouse.dev/admission":"enforce"}}}`
		now := namespace.DeepCopy()
		err = c.Patch(ctx, now, client.RawPatch(types.MergePatchType, []byte(label)))
		switch {
		case apierrors.IsNotFound(err) || err == nil && now.GetDeletionTimestamp() != nil:
		default:
			return err
		}
	}
}

// judge sends each object of Gateway API as a dry run. That it is stored already is found out only after admission.
func judge(ctx context.Context, c client.Client, all []manifest) ([]refusal, error) {
	var denied []refusal
	for _, m := range all {
		if !strings.HasPrefix(m.object.GroupVersionKind().Group, "gateway.networking.") {
			continue
		}
		err := c.Create(ctx, m.object.DeepCopy(), client.DryRunAll)
		if err == nil || apierrors.IsAlreadyExists(err) {
			continue
		}
		problems := causes(err)
		if len(problems) == 0 {
			return nil, fmt.Errorf("send %s: %w", m, err)
		}
		denied = append(denied, refusal{m.String(), m.from, problems})
	}
	return denied, nil
}

// causes are the reasons of a denial by admission; there are none if something else went wrong.
func causes(err error) []string {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || !strings.Contains(err.Error(), "denied the request") || status.Status().Details == nil {
		return nil
	}
	var all []string
	for _, c := range status.Status().Details.Causes {
		all = append(all, c.Field+": "+c.Message)
	}
	return all
}

func page(denied []refusal) []byte {
	var out bytes.Buffer
	fmt.Fprintf(&out, `# What level enforce denies of the conformance suite

Written by `+"`make conformance`"+`. The suite stores objects that must end in a condition that is False, so it runs with the label
`+"`gatehouse.dev/admission: warn`"+` on its namespaces. Afterwards each object of its manifests is sent once more, as a dry run at level
enforce, which is the default, with everything stored that it may refer to. Denied is only what can never work as it is
written, or what names content that is there and broken. Objects denied: %d; every other one of the suite may be stored at level enforce.
`, len(denied))
	if len(denied) > 0 {
		fmt.Fprint(&out, "\n| object | from | denied because |\n|---|---|---|\n")
	}
	for _, r := range denied {
		fmt.Fprintf(&out, "| %s | %s | %s |\n", r.object, r.from, strings.ReplaceAll(strings.Join(r.problems, "<br>"), "|",
			`\|`))
	}
	return out.Bytes()
}

// TestManifestsAreTheSuites: all files of the tests for Gateways are read, as the suite sends them, and none of those
// for meshes.
func TestManifestsAreTheSuites(t *testing.T) {
	options := &suite.ConformanceOptions{}
	options.GatewayClassName = "some-class"
	all, err := manifests(options)
	if err != nil {
		t.Fatal(err)
	}
	gateways := 0
	for _, m := range all {
		if strings.Contains(m.from, "mesh") {
			t.Errorf("%s is of %s", m, m.from)
		}
		if m.object.GetKind() != "Gateway" {
			continue
		}
		gateways++
		if class, _, _ := unstructured.NestedString(m.object.Object, "spec", "gatewayClassName"); class != "some-class" {
			t.Errorf("%s has class %q", m, class)
		}
	}
	if gateways < 50 {
		t.Errorf("%d Gateways of %d objects were found", gateways, len(all))
	}
}

// TestPage: each denial is a row of the table, whatever its words.
func TestPage(t *testing.T) {
	_, rows, _ := strings.Cut(string(page([]refusal{{"Gateway x/y", "tests/z.yaml", []string{"a|b: bad; mend it", "c"}}})),
		"|---|---|---|\n")
	if want := "| Gateway x/y | tests/z.yaml | a\\|b: bad; mend it<br>c |\n"; rows != want {
		t.Errorf("rows:\n%s\nwant:\n%s", rows, want)
	}
}
