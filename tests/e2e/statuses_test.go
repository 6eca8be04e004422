package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	gocmp "github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// entry is a part of a status that one controller writes about a reference.
type entry struct {
	ParentRef, AncestorRef map[string]any
	ControllerName         string
	Conditions             []metav1.Condition
}

// statusOf has the parts of a status that have conditions.
type statusOf struct {
	Status struct {
		Conditions []metav1.Condition
		Listeners  []entry
		Parents    []entry
		Ancestors  []entry
	}
}

const controllerName = "gateway.envoyproxy.io/gatewayclass-controller"

// ofProblem matches a line of a message that is a problem: it begins with the path of a field. Other lines summarize.
var ofProblem = regexp.MustCompile(`^(Dropped Rule\(s\) \[[^\]]*\]: )?((spec|metadata|data|binaryData)[^ ]*: .*)$`)

// tellsMore are conditions that also say what is not wrong with the object itself: what the cluster has not assigned yet,
// backends without endpoints, and routes that come after this one.
var tellsMore = map[string]bool{
	"Programmed": true, "AddressesAssigned": true, "BackendsAvailable": true, "RouteRulesOverlap": true,
}

// compareStatus compares the problems in the conditions of an object with what the command says about it.
func (p *parity) compareStatus(o *unstructured.Unstructured) (diff string, problems bool) {
	stored := o.DeepCopy()
	if err := p.user.client.Get(context.Background(), client.ObjectKeyFromObject(o), stored); err != nil {
		p.Fatal(err)
	}
	var s statusOf
	text, err := stored.MarshalJSON()
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil {
		p.Fatal(err)
	}
	conditions, ours := s.ours()
	switch {
	case !ours && p.served(o):
		return fmt.Sprintf("%s %s has no status\n", o.GetKind(), o.GetName()), false
	case !ours:
		return "", false // It has no status, or belongs to no Gateway of ours, so another controller says what it thinks.
	}
	var want, got []string
	for _, f := range p.known {
		if f.isAbout(o) && !f.byAPIServer() && !s.absent(f) && f.Reason != "Defaulted" { // Admission has filled it in.
			want = append(want, f.line())
		}
	}
	if o.GetKind() == "Backend" && len(want) == 0 {
		return "", false // Only routes of other controllers name it, and what was said before they came stays.
	}
	for _, c := range conditions {
		if c.ObservedGeneration != stored.GetGeneration() {
			return fmt.Sprintf("%s %s: condition %s is about generation %d\n", o.GetKind(), o.GetName(), c.Type,
				c.ObservedGeneration), false
		}
		for line := range strings.Lines(c.Message) {
			m := ofProblem.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
			if m != nil && (!tellsMore[c.Type] || slices.Contains(want, m[2])) {
				got = append(got, m[2])
			}
		}
	}
	for _, lines := range []*[]string{&want, &got} {
		slices.Sort(*lines)
		*lines = slices.Compact(*lines)
	}
	if d := gocmp.Diff(want, got); d != "" {
		return fmt.Sprintf("%s %s (-command +status):\n%s", o.GetKind(), o.GetName(), d), false
	}
	return "", len(got) > 0
}

// ours are the conditions that the control plane writes. It reports whether there are any.
func (s *statusOf) ours() (all []metav1.Condition, ours bool) {
	all = s.Status.Conditions
	for _, l := range s.Status.Listeners {
		all = append(all, l.Conditions...)
	}
	for _, e := range slices.Concat(s.Status.Parents, s.Status.Ancestors) {
		if e.ControllerName == controllerName {
			all = append(all, e.Conditions...)
		}
	}
	// What the CRD fills in is of no generation.
	all = slices.DeleteFunc(all, func(c metav1.Condition) bool { return c.Message == "Waiting for controller" })
	return all, len(all) > 0
}

// parentField matches a field of a parentRef.
var parentField = regexp.MustCompile(`^spec\.parentRefs\[\d+\]\.name$`)

// absent reports whether a finding is about a parent that does not exist: nobody can have an entry about it.
func (s *statusOf) absent(f finding) bool {
	return f.Reason == "NoMatchingParent" && parentField.MatchString(f.Field)
}

// served reports whether an object must have a status: a class and a Gateway of ours, and what refers to a Gateway of ours
// and is stored, directly or by another object.
func (p *parity) served(o *unstructured.Unstructured) bool {
	spec, _ := o.Object["spec"].(map[string]any)
	switch o.GetKind() {
	case "GatewayClass":
		return spec["controllerName"] == controllerName
	case "Gateway":
		class, _ := spec["gatewayClassName"].(string)
		return p.refersToServed(o, map[string]any{"kind": "GatewayClass", "name": class})
	case "ListenerSet":
		return p.refersToServed(o, spec["parentRef"])
	case "Service", "Secret", "ConfigMap", "Namespace", "EndpointSlice", "ReferenceGrant", "Backend", "EnvoyProxy":
		return false
	}
	for _, field := range []string{"parentRefs", "targetRefs"} {
		refs, _ := spec[field].([]any)
		if slices.ContainsFunc(refs, func(ref any) bool { return p.refersToServed(o, ref) }) {
			return true
		}
	}
	return p.refersToServed(o, spec["targetRef"])
}

func (p *parity) refersToServed(o *unstructured.Unstructured, reference any) bool {
	ref, _ := reference.(map[string]any)
	kind, _ := ref["kind"].(string)
	namespace, _ := ref["namespace"].(string)
	return ref != nil && slices.ContainsFunc(p.stored, func(other *unstructured.Unstructured) bool {
		return other.GetKind() == cmp.Or(kind, "Gateway") && other.GetName() == ref["name"] && p.served(other) &&
			(other.GetNamespace() == "" || other.GetNamespace() == cmp.Or(namespace, o.GetNamespace()))
	})
}
