package e2e

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"gatehouse/tests/corpus"
)

var (
	soakFor  = flag.Duration("soak", 15*time.Second, "how long TestSoak applies objects")
	soakSeed = flag.Uint64("soak-seed", 1, "seed of the objects that TestSoak applies")
)

// tenants is how many namespaces and users the soak has.
const tenants = 6

// TestSoak: tenants apply, change and delete random objects, valid and invalid ones, at the same time. Each object that
// is denied is one that the control plane would refuse as well: the command, which translates what is stored, says the
// same of it. Envoy accepts everything that is admitted. No tenant reads the name of an object that it may not read.
func TestSoak(t *testing.T) {
	folders, err := corpus.Read(root)
	if err != nil {
		t.Fatal(err)
	}
	s := &soak{T: t, platform: newScene(t, "platform").namespace, counts: &tally{count: map[string]int{}}}
	s.versions = &history{versions: map[string][]string{}}
	s.build()
	acks, nacks := s.answersOfEnvoy()
	var group sync.WaitGroup
	for i := range tenants {
		o := &tenant{
			soak: s, number: i, user: newUser(t, fmt.Sprintf("tenant-%d", i)),
			changer: corpus.NewChanger(*soakSeed*tenants+uint64(i), folders),
		}
		o.templates = templates(folders)
		group.Go(func() { o.apply(time.Now().Add(*soakFor)) })
	}
	group.Wait()
	laterAcks, laterNacks := s.answersOfEnvoy()
	s.counts.count["acks of Envoy"], s.counts.count["NACKs of Envoy"] = laterAcks-acks, laterNacks-nacks
	t.Logf("seed %d, %s: %s", *soakSeed, *soakFor, s.counts)
	if laterNacks != nacks {
		t.Errorf("Envoy rejected %d responses", laterNacks-nacks)
	}
	for _, what := range []string{"admitted", "warned", "denied", "refused by the API server", "denials proved", "acks of Envoy"} {
		s.counts.atLeast(t, what, 3)
	}
}

// soak is what all tenants share.
type soak struct {
	*testing.T
	platform string
	counts   *tally
	versions *history
	admin    *user
}

func (s *soak) namespace(tenant int) string { return fmt.Sprintf("t%d-%s", tenant, s.platform) }

// rights are those of tenants in their own namespace.
const rights = `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: PLATFORM}
rules:
- {apiGroups: [gateway.networking.k8s.io, gateway.envoyproxy.io], resources: ["*"], verbs: ["*"]}
- {apiGroups: [""], resources: [services, secrets, configmaps], verbs: ["*"]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: shared, namespace: PLATFORM}
spec:
  gatewayClassName: eg
  listeners:
  - {name: http, protocol: HTTP, port: 80, allowedRoutes: {namespaces: {from: All}}}
  - {name: tls, protocol: TLS, port: 8443, tls: {mode: Passthrough}, allowedRoutes: {namespaces: {from: All}}}
  - {name: tcp, protocol: TCP, port: 9000, allowedRoutes: {namespaces: {from: All}}}
  allowedListeners: {namespaces: {from: All}}
`

// build makes the namespaces, the rights and the Gateway that all share. Tenant 1 may read what tenant 0 has, too, and
// tenant 2 everything.
func (s *soak) build() {
	s.admin = newUser(s.T)
	manifest := strings.ReplaceAll(rights, "PLATFORM", s.platform)
	bind := func(tenant int, kind, role, namespace string) {
		at := ""
		if namespace != "" {
			at = ", namespace: " + namespace
		}
		manifest += fmt.Sprintf(`
---
apiVersion: rbac.authorization.k8s.io/v1
kind: %[1]s
metadata: {name: tenant-%[2]d-%[3]s%[4]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: %[5]s}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: tenant-%[2]d}]
`, kind, tenant, s.platform, at, role)
	}
	namespaces := ""
	for i := range tenants {
		namespaces += fmt.Sprintf("---\napiVersion: v1\nkind: Namespace\nmetadata: {name: %s}\n", s.namespace(i))
		bind(i, "RoleBinding", s.platform, s.namespace(i))
	}
	bind(1, "RoleBinding", s.platform, s.namespace(0))
	bind(2, "ClusterRoleBinding", "cluster-admin", "")
	out, err := apply(namespaces)
	must(s.T, out, err)
	out, err = apply(manifest)
	must(s.T, out, err)
	s.Cleanup(func() { _, _ = kubectlOf(namespaces, "delete", "--wait=false", "-f", "-") }) // The cluster goes anyway.
	address(s.T, s.platform, "shared")
}

// mayRead reports whether a tenant may read what another one has, as build has decided.
func mayRead(tenant, other int) bool {
	return tenant == other || tenant == 2 || tenant == 1 && other == 0
}

// answersOfEnvoy counts the responses that Envoys have acknowledged and rejected so far.
func (s *soak) answersOfEnvoy() (acks, nacks int) {
	out, err := kubectl("get", "pods", "-n", "gatehouse-system", "-l", "app.kubernetes.io/name=gatehouse", "-o",
		"jsonpath={.items[*].status.podIP}")
	ip := must(s.T, out, err)
	out, err = inside("curl", "-s", "http://"+ip+":19001/metrics")
	for line := range strings.Lines(must(s.T, out, err)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		number, _ := strconv.ParseFloat(value, 64)
		switch {
		case strings.HasPrefix(name, "gatehouse_xds_acks_total{"):
			acks += int(number)
		case strings.HasPrefix(name, "gatehouse_xds_nacks_total{"):
			nacks += int(number)
		}
	}
	return acks, nacks
}

// applied are the kinds of objects that tenants apply. GatewayClasses and Gateways are the platform's.
var applied = []string{
	"HTTPRoute", "HTTPRoute", "HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "ListenerSet", "Service", "Service", "Secret",
	"ConfigMap", "ReferenceGrant", "BackendTLSPolicy", "BackendTrafficPolicy", "ClientTrafficPolicy", "SecurityPolicy",
}

// templates are the objects of the folders by kind.
func templates(folders []corpus.Folder) map[string][]*unstructured.Unstructured {
	all := map[string][]*unstructured.Unstructured{}
	for _, f := range folders {
		for _, o := range f.Objects {
			all[o.GetKind()] = append(all[o.GetKind()], o)
		}
	}
	return all
}

// tenant applies objects in a namespace of its own. One goroutine uses it.
type tenant struct {
	*soak
	number    int
	user      *user
	changer   *corpus.Changer
	templates map[string][]*unstructured.Unstructured
}

func (o *tenant) apply(end time.Time) {
	for time.Now().Before(end) && !o.Failed() {
		object := o.object()
		got, before := o.write(object)
		o.counts.add(got.sort())
		o.judgeNames(object, before, got)
		if len(got.denials) > 0 {
			o.prove(object, got)
		}
	}
}

// object is a random object of the tenant.
func (o *tenant) object() *unstructured.Unstructured {
	kind := applied[o.changer.IntN(len(applied))]
	template := o.templates[kind][o.changer.IntN(len(o.templates[kind]))]
	if o.changer.IntN(2) == 0 {
		template = o.changer.Change(corpus.Folder{Objects: []*unstructured.Unstructured{template}}).Objects[0]
	}
	object := template.DeepCopy()
	object.SetNamespace(o.namespace(o.number))
	object.SetName(o.name(kind, o.number))
	o.rewire(object.Object["spec"])
	return object
}

// name is one of the names that objects of the kind have with a tenant. Names say whose they are.
func (o *tenant) name(kind string, tenant int) string {
	return fmt.Sprintf("t%d-%s-%d", tenant, strings.ToLower(kind), o.changer.IntN(4))
}

// referring are the fields with references, and the kinds that they refer to if they name none.
var referring = map[string]string{
	"parentRefs": "Gateway", "parentRef": "Gateway", "backendRefs": "Service", "backendRef": "Service",
	"targetRefs": "HTTPRoute", "targetRef": "HTTPRoute", "certificateRefs": "Secret", "caCertificateRefs": "ConfigMap",
	"users": "Secret",
}

// rewire lets references lead to objects of the tenant, of other tenants and of the platform.
func (o *tenant) rewire(value any) {
	switch v := value.(type) {
	case map[string]any:
		for field, inner := range v {
			if kind, ok := referring[field]; ok {
				list, isList := inner.([]any)
				if !isList {
					list = []any{inner}
				}
				for _, item := range list {
					if ref, ok := item.(map[string]any); ok {
						o.refer(ref, kind)
					}
				}
			}
			o.rewire(inner)
		}
	case []any:
		for _, item := range v {
			o.rewire(item)
		}
	}
}

func (o *tenant) refer(ref map[string]any, kind string) {
	if named, ok := ref["kind"].(string); ok {
		kind = named
	}
	if kind == "Gateway" && o.changer.IntN(10) > 0 {
		ref["namespace"], ref["name"] = o.platform, "shared"
		delete(ref, "port")
		if o.changer.IntN(3) > 0 {
			delete(ref, "sectionName")
		}
		return
	}
	ref["name"] = o.name(kind, o.number)
	delete(ref, "namespace")
	if other := o.changer.IntN(4 * tenants); other < tenants {
		ref["name"], ref["namespace"] = o.name(kind, other), o.namespace(other)
	}
}

// write creates the object, or updates or deletes it if it exists. before is what was stored.
func (o *tenant) write(object *unstructured.Unstructured) (got reply, before *unstructured.Unstructured) {
	before = object.DeepCopy()
	err := o.user.client.Get(context.Background(), client.ObjectKeyFromObject(object), before)
	switch {
	case apierrors.IsNotFound(err), meta.IsNoMatchError(err): // Nobody serves the version, so it is refused.
		return o.user.create(o.T, object, false), nil
	case err != nil:
		o.Error(err)
		return reply{}, nil
	case o.changer.IntN(4) == 0:
		o.user.heard = nil
		if err := client.IgnoreNotFound(o.user.client.Delete(context.Background(), before)); err != nil {
			o.Errorf("deleting %s %s: %v", before.GetKind(), before.GetName(), err)
		}
		o.counts.add("deletions")
		return reply{stored: true, warnings: slices.Clone(o.user.heard)}, before
	}
	object.SetResourceVersion(before.GetResourceVersion())
	return o.user.update(o.T, object, false), before
}

// prove finds each denial in what the command says about all that is stored, with the object. Others write at the same
// time, so what is not found is asked again: it must be found, or be gone.
func (o *tenant) prove(object *unstructured.Unstructured, got reply) {
	var unproved []string
	var stored []*unstructured.Unstructured
	var found []finding
	for range 5 {
		stored = o.snapshot(object)
		found = check(o.T, append(stored, object))
		unproved = slices.DeleteFunc(slices.Clone(got.denials), func(line string) bool { return proved(object, line, found) })
		if len(unproved) == 0 {
			o.counts.addAll("denials proved", len(got.denials))
			return
		}
		live := object.DeepCopy()
		if object.GetResourceVersion() == "" {
			got = o.user.create(o.T, live, true)
		} else {
			got = o.user.update(o.T, live, true)
		}
		if len(got.denials) == 0 {
			o.counts.add("denials that ended")
			return
		}
	}
	stored = slices.DeleteFunc(stored, func(u *unstructured.Unstructured) bool {
		return u.GetKind() != "Namespace" && !strings.Contains(strings.Join(unproved, " "), u.GetName())
	})
	text, _ := json.Marshal(append(stored, object)) // It is only shown.
	o.Errorf("the command does not say that %q, but %q; these objects have to do with it:\n%s", unproved, found, text)
}

// proved reports whether the command says the line about the object, or finds something wrong with others of the kind
// that the line is about.
func proved(object *unstructured.Unstructured, line string, found []finding) bool {
	m := counted.FindStringSubmatch(line)
	return slices.ContainsFunc(found, func(f finding) bool {
		switch {
		case f.Severity != "error":
			return false
		case m != nil:
			return !f.isAbout(object) && (f.Kind == m[2]+m[4] || f.Kind == singular(m[2]+m[4]))
		}
		return f.isAbout(object) && f.line() == line || f.named() == line
	})
}

// snapshot is what is stored in all namespaces of the soak, without the object.
func (o *tenant) snapshot(without *unstructured.Unstructured) (all []*unstructured.Unstructured) {
	out, err := kubectl("get", "-o", "json", "-A",
		"gatewayclasses,gateways,listenersets,httproutes,grpcroutes,tlsroutes,tcproutes,referencegrants,backendtlspolicies,"+
			"backendtrafficpolicies,clienttrafficpolicies,securitypolicies,services,secrets,configmaps,namespaces")
	var list struct{ Items []map[string]any }
	if err != nil || json.Unmarshal([]byte(out), &list) != nil {
		o.Errorf("kubectl get: %v: %s", err, out)
	}
	for _, item := range list.Items {
		u := &unstructured.Unstructured{Object: item}
		delete(item, "status")
		u.SetManagedFields(nil)
		same := u.GetKind() == without.GetKind() && u.GetNamespace() == without.GetNamespace() && u.GetName() == without.GetName()
		if in := u.GetNamespace() + u.GetName(); strings.Contains(in, o.platform) || u.GetKind() == "GatewayClass" {
			if !same {
				all = append(all, u)
			}
		}
	}
	return all
}
