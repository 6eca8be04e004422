package audit

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	rulesv1alpha1 "gatehouse/api/rules/v1alpha1"
	"gatehouse/controller/kube"
)

const (
	// mostReports is how many reports there are, and mostResults how many results each has.
	mostReports, mostResults = 1000, 500
	// mostWrites is how many reports are written at once.
	mostWrites = 50
	// mostReported is the length of the messages in reports, in bytes.
	mostReported = 512
	// lookAgain is how often the API server is asked whether kinds of reports are installed.
	lookAgain = 30 * time.Second

	reportName = "gatehouse"
	ownerLabel = "app.kubernetes.io/managed-by"
)

// Reports writes results as objects of a kind that reporters share, one for each namespace, where the cluster has such a
// kind. It writes to no object that lacks its label. It belongs to one goroutine.
type Reports struct {
	// Client reads and writes reports in the API server itself.
	Client client.Client
	// Discovery returns which kinds the API server serves.
	Discovery kube.Discovery
	Log       logr.Logger

	kind   *reportKind // Nil if none is installed.
	looked time.Time
	// written are the namespaces that have a report.
	written map[string]bool
}

// reportKind is a pair of kinds: reports of a namespace, and of the cluster.
type reportKind struct {
	schema.GroupVersion
	namespaced, cluster string
	// source reports whether the report as a whole names who writes it.
	source bool
}

// reportKinds are the kinds of reports. The first one that is installed is written.
var reportKinds = []*reportKind{
	{schema.GroupVersion{Group: "openreports.io", Version: "v1alpha1"}, "Report", "ClusterReport", true},
	{schema.GroupVersion{Group: "wgpolicyk8s.io", Version: "v1alpha2"}, "PolicyReport", "ClusterPolicyReport", false},
}

func (k *reportKind) of(namespace string) schema.GroupVersionKind {
	if namespace == "" {
		return k.WithKind(k.cluster)
	}
	return k.WithKind(k.namespaced)
}

// content is what a report says.
type content struct {
	namespace string
	sums      sums
	findings  []finding
}

// empty reports whether there is nothing to report.
func (c *content) empty() bool { return c.sums == sums{pass: c.sums.pass} }

// forget forgets what is installed and written: another replica may have written since.
func (r *Reports) forget() { r.kind, r.looked, r.written = nil, time.Time{}, map[string]bool{} }

func (r *Reports) installed() bool { return r.kind != nil }

// room reports whether there may be such a report besides those that there are.
func (r *Reports) room(c *content) bool {
	return c.empty() || r.written[c.namespace] || len(r.written) < mostReports
}

// find looks which kind of reports is installed, from time to time. It reports whether it is another one than before.
// All reports must be written then.
func (r *Reports) find(ctx context.Context, now time.Time) (changed bool) {
	if now.Sub(r.looked) < lookAgain {
		return false
	}
	r.looked = now
	var first *reportKind
	for _, kind := range reportKinds {
		served, err := r.serves(ctx, kind)
		if err == nil && served && first != nil {
			err = r.removeAll(ctx, kind) // They were written before the other kind was installed.
		}
		if err != nil {
			r.Log.Error(err, "could not find out which reports can be written; trying again", "group", kind.Group)
			return false
		}
		if served && first == nil {
			first = kind
		}
	}
	if first == r.kind {
		return false
	}
	r.kind, r.written = nil, map[string]bool{}
	if first == nil {
		r.Log.Info("the kinds of reports are not installed any more")
		return true
	}
	all, err := r.list(ctx, first)
	if err != nil {
		r.Log.Error(err, "could not list reports; trying again")
		return false
	}
	r.Log.Info("writing reports", "group", first.Group)
	r.kind = first
	for i := range all {
		r.written[all[i].GetNamespace()] = true
	}
	return true
}

// serves reports whether the API server has both kinds.
func (r *Reports) serves(ctx context.Context, kind *reportKind) (bool, error) {
	kinds, err := kube.Served(ctx, r.Discovery, kind.GroupVersion)
	return slices.Contains(kinds, kind.namespaced) && slices.Contains(kinds, kind.cluster), err
}

// list lists the reports of a kind that this control plane has written.
func (r *Reports) list(ctx context.Context, kind *reportKind) (all []unstructured.Unstructured, _ error) {
	for _, name := range []string{kind.namespaced, kind.cluster} {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(kind.WithKind(name + "List"))
		if err := r.Client.List(ctx, list, client.MatchingLabels{ownerLabel: reportName}); err != nil {
			return nil, fmt.Errorf("list %ss: %w", name, err)
		}
		for _, item := range list.Items {
			if item.GetName() == reportName {
				all = append(all, item)
			}
		}
	}
	return all, nil
}

func (r *Reports) removeAll(ctx context.Context, kind *reportKind) error {
	all, err := r.list(ctx, kind)
	if err != nil {
		return err
	}
	for i := range all {
		if err := r.Client.Delete(ctx, &all[i]); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete %s of %s: %w", all[i].GetKind(), all[i].GetNamespace(), err)
		}
	}
	return nil
}

// write creates, changes or removes the report of a namespace.
func (r *Reports) write(ctx context.Context, c content) error {
	stored := &unstructured.Unstructured{}
	stored.SetGroupVersionKind(r.kind.of(c.namespace))
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: c.namespace, Name: reportName}, stored)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("read the report: %w", err)
	}
	absent := err != nil
	if !absent && stored.GetLabels()[ownerLabel] != reportName {
		r.Log.Info("a report is left alone, because somebody else wrote it", "namespace", c.namespace, "name", reportName)
		delete(r.written, c.namespace)
		return nil
	}
	switch wanted := r.kind.report(&c); {
	case c.empty() && absent:
	case c.empty():
		err = r.Client.Delete(ctx, stored, client.Preconditions{ResourceVersion: ptr.To(stored.GetResourceVersion())})
	case absent:
		if err = r.Client.Create(ctx, wanted); apierrors.HasStatusCause(err, "NamespaceTerminating") {
			return nil
		}
	default:
		if !r.kind.fill(stored, wanted) {
			break
		}
		err = r.Client.Update(ctx, stored)
	}
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	if r.written[c.namespace] = true; c.empty() {
		delete(r.written, c.namespace)
	}
	return nil
}

// fill gives a stored report what is wanted, and reports whether that changes it.
func (k *reportKind) fill(stored, wanted *unstructured.Unstructured) (changed bool) {
	for _, field := range []string{"source", "summary", "results"} {
		if !equality.Semantic.DeepEqual(stored.Object[field], wanted.Object[field]) {
			stored.Object[field] = wanted.Object[field]
			changed = true
		}
	}
	return changed
}

// report makes a report.
func (k *reportKind) report(c *content) *unstructured.Unstructured {
	report := &unstructured.Unstructured{Object: map[string]any{
		"summary": map[string]any{
			"pass": int64(c.sums.pass), "fail": int64(c.sums.fail), "warn": int64(c.sums.warn), "error": int64(c.sums.failed),
			"skip": int64(c.sums.excepted),
		},
	}}
	report.SetGroupVersionKind(k.of(c.namespace))
	report.SetName(reportName)
	report.SetNamespace(c.namespace)
	report.SetLabels(map[string]string{ownerLabel: reportName})
	if k.source {
		report.Object["source"] = reportName
	}
	results := make([]any, len(c.findings))
	for i := range c.findings {
		results[i] = c.findings[i].result()
	}
	report.Object["results"] = results
	return report
}

// result is a finding in the form of reports. It has no time, so that a report changes only when its results do.
func (f *finding) result() map[string]any {
	result, severity := "warn", "low"
	switch f.Severity {
	case rulesv1alpha1.SeverityDeny:
		result, severity = "fail", "high"
	case rulesv1alpha1.SeverityWarn:
		severity = "medium"
	case rulesv1alpha1.SeverityAudit:
	}
	switch {
	case f.Excepted:
		result = "skip"
	case f.Failed:
		result = "error"
	}
	subject := map[string]any{
		"apiVersion": f.version, "kind": f.ref.Kind, "name": f.ref.Name,
	}
	if f.ref.Namespace != "" {
		subject["namespace"] = f.ref.Namespace
	}
	told := map[string]any{
		"source": reportName, "policy": f.Rule, "rule": f.Reason, "category": "AdmissionRule", "severity": severity,
		"result": result, "scored": result == "fail", "message": shortened(f.Message, mostReported), "resources": []any{subject},
	}
	if f.Field != "" {
		told["properties"] = map[string]any{"field": f.Field}
	}
	return told
}
