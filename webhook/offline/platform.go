package offline

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	rulesv1alpha1 "gatehouse/api/rules/v1alpha1"
	"gatehouse/policies/admissionrule"
	"gatehouse/policies/rules/packs"
	"gatehouse/policies/verdict"
)

// Platform has the rules of a platform in manifests, and what they are evaluated with.
type Platform struct {
	// Rules are those that can be evaluated, in the order of the manifests.
	Rules []StoredRule
	// Findings are the problems of rules and exceptions.
	Findings []Finding
	// Now is the time at which exceptions may have expired.
	Now time.Time

	exceptions map[string][]*admissionrule.Exception
	namespaces namespaces
	configs    []*corev1.ConfigMap
	// documents are the rules, and all other objects that are in the same files.
	documents []document
	forms     *forms
	// problems are those of the rules and exceptions themselves.
	problems map[verdict.Ref][]verdict.Problem
}

// StoredRule is a rule with where it is in the manifests.
type StoredRule struct {
	Place
	Source *rulesv1alpha1.AdmissionRule
	// Text is the manifest as it is written.
	Text []byte
	rule *admissionrule.Rule
}

// descriptionKey is the annotation of Kubernetes for what an object is about.
const descriptionKey = "kubernetes.io/description"

// Help is what users are told about the rule: its annotation kubernetes.io/description.
func (r *StoredRule) Help() string { return r.Source.Annotations[descriptionKey] }

// ReadPlatform reads rules from files, folders and packs by their names, with the exceptions, Namespaces and ConfigMaps
// that are there too. It returns an error if one of them cannot be read at all.
func ReadPlatform(crds []*apiextensionsv1.CustomResourceDefinition, paths []string) (*Platform, error) {
	r := newReview(Options{CRDs: crds, Rules: paths, Namespace: "default"})
	r.prepare(nil)
	if err := r.regulate(nil, nil); err != nil {
		return nil, err
	}
	r.place()
	r.platform.Findings = r.Findings
	return r.platform, nil
}

var (
	ruleKind      = schema.GroupKind{Group: rulesv1alpha1.GroupName, Kind: rulesv1alpha1.KindAdmissionRule}
	exceptionKind = schema.GroupKind{Group: rulesv1alpha1.GroupName, Kind: rulesv1alpha1.KindAdmissionException}
)

// ofRules reports whether objects of a kind are rules or exceptions.
func ofRules(kind schema.GroupVersionKind) bool {
	return kind.GroupKind() == ruleKind || kind.GroupKind() == exceptionKind
}

// regulate reads the rules of the platform, with what they are evaluated with, from all places: the manifests, the
// options and the cluster. The first of them wins.
func (r *review) regulate(manifests, stored []document) error {
	files := &reader{limit: maxInput}
	if err := files.rules(r.Rules); err != nil {
		return err
	}
	r.broken(files.broken)
	there := map[verdict.Ref]bool{}
	for _, d := range manifests {
		there[r.headOf(d)] = true
	}
	added := slices.DeleteFunc(files.documents, func(d document) bool { return there[r.headOf(d)] })
	for _, d := range added {
		there[r.headOf(d)] = true
	}
	stored = slices.DeleteFunc(slices.Clone(stored), func(d document) bool { return there[r.headOf(d)] })
	all := slices.Concat(stored, added, manifests)
	r.platform = &Platform{
		Now: time.Now(), exceptions: map[string][]*admissionrule.Exception{}, namespaces: newNamespaces(all),
		problems: map[verdict.Ref][]verdict.Problem{}, documents: added, forms: r.forms,
	}
	for _, d := range all { // Exceptions name rules, so rules come first.
		r.takeRule(d)
	}
	for _, d := range all {
		r.takeException(d)
		r.takeConfig(d)
	}
	for _, d := range added {
		if ofRules(d.kind) {
			r.take(d)
		}
	}
	return nil
}

// packPrefix is what names of files of packs begin with.
const packPrefix = "pack:"

// rules reads files, folders and packs. A name of a pack means the pack, even if there is such a file.
func (r *reader) rules(paths []string) error {
	for _, path := range paths {
		pack, ok := packs.Open(path)
		if !ok {
			err := r.read([]string{path}, nil)
			if errors.Is(err, fs.ErrNotExist) && filepath.Base(path) == path {
				return fmt.Errorf("no file, folder or pack %q: correct the name; gatehouse rules list lists the packs", path)
			}
			if err != nil {
				return err
			}
			continue
		}
		if r.again(packPrefix + path) {
			continue
		}
		names, err := fs.Glob(pack, "*.yaml")
		if err != nil {
			return fmt.Errorf("reading pack %s: %w", path, err)
		}
		for _, name := range names {
			file, err := pack.Open(name)
			if err == nil {
				err = r.stream(packPrefix+path+"/"+name, file)
				_ = file.Close() // It is part of the program.
			}
			if err != nil {
				return fmt.Errorf("reading pack %s: %w", path, err)
			}
		}
	}
	r.parse()
	return nil
}

// headOf is the object of a document; without a name if it has none that can be read.
func (r *review) headOf(d document) verdict.Ref {
	head := &metav1.PartialObjectMetadata{}
	if json.Unmarshal(d.raw, head) != nil {
		head = &metav1.PartialObjectMetadata{} // The steps report it.
	}
	ref := verdict.Ref{Group: d.kind.Group, Kind: d.kind.Kind, Name: head.Name, Namespace: head.Namespace}
	if !ClusterScoped(d.kind.GroupKind()) && d.kind.GroupKind() != ruleKind {
		ref.Namespace = cmp.Or(ref.Namespace, r.Namespace)
	}
	return ref
}

// decoded decodes a document of a kind, and reports whether it is one. The steps report what cannot be decoded.
func decoded(d document, kind schema.GroupKind, into any) bool {
	return d.kind.GroupKind() == kind && json.Unmarshal(d.raw, into) == nil
}

func (r *review) takeRule(d document) {
	source := &rulesv1alpha1.AdmissionRule{}
	if !decoded(d, ruleKind, source) {
		return
	}
	p, ref := r.platform, r.headOf(d)
	if _, twice := p.problems[ref]; twice {
		return // The steps report it.
	}
	schemas := r.schemaOf
	if strings.HasPrefix(d.source.name, packPrefix) {
		schemas = nil // Its tests check it.
	}
	rule, problems, _ := admissionrule.Compile(context.Background(), source, schemas) // Nothing ends it.
	if p.problems[ref] = problems; rule != nil {
		p.Rules = append(p.Rules, StoredRule{
			Place: d.place("metadata.name"), Source: source, Text: d.source.text[d.part.start:d.part.end], rule: rule,
		})
	}
}

// schemaOf returns the schema of a kind; nil if it is not known.
func (r *review) schemaOf(kind schema.GroupVersionKind) *structural.Structural {
	known, err := r.definitions.Kind(kind)
	if err != nil || known == nil {
		return nil
	}
	return known.Schema
}

func (r *review) takeException(d document) {
	source := &rulesv1alpha1.AdmissionException{}
	if !decoded(d, exceptionKind, source) {
		return
	}
	p := r.platform
	source.Namespace = cmp.Or(source.Namespace, r.Namespace)
	e, problems := admissionrule.NewException(source)
	p.problems[r.headOf(d)] = append(problems, e.Problems(func(name string) *rulesv1alpha1.AdmissionRule {
		at := slices.IndexFunc(p.Rules, func(r StoredRule) bool { return r.Source.Name == name })
		if at < 0 {
			return nil
		}
		return p.Rules[at].Source
	}, p.Now)...)
	p.exceptions[source.Namespace] = append(p.exceptions[source.Namespace], e)
}

func (r *review) takeConfig(d document) {
	config := &corev1.ConfigMap{}
	if decoded(d, schema.GroupKind{Kind: "ConfigMap"}, config) {
		config.Namespace = cmp.Or(config.Namespace, r.Namespace)
		r.platform.configs = append(r.platform.configs, config)
	}
}
