package manifests

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"gatehouse/controller/kube"
)

// TestRoleCoversWhatIsWatched expects the right to read every kind that the translation reads, and nodes, without which
// the control plane would wait for ever.
func TestRoleCoversWhatIsWatched(t *testing.T) {
	var watched []rbacv1.PolicyRule
	for _, obj := range decode(t, helmTemplate(t, "gatehouse")) {
		if role, ok := obj.(*rbacv1.ClusterRole); ok && role.Name == "gatehouse" {
			watched = role.Rules
		}
	}
	scheme := kube.NewScheme()
	for _, kind := range slices.Concat(kube.Kinds(), kube.RuleKinds(), []kube.Kind{{Object: &corev1.Node{}}}) {
		gvks, _, err := scheme.ObjectKinds(kind.Object)
		if err != nil {
			t.Fatal(err)
		}
		resource, singular := meta.UnsafeGuessKindToResource(gvks[0])
		if singular.Resource == "gateway" { // The guess is gatewaies.
			resource.Resource = "gateways"
		}
		granted := slices.ContainsFunc(watched, func(rule rbacv1.PolicyRule) bool {
			return slices.Contains(rule.APIGroups, resource.Group) && slices.Contains(rule.Resources, resource.Resource) &&
				slices.Contains(rule.Verbs, "list") && slices.Contains(rule.Verbs, "watch")
		})
		if !granted {
			t.Errorf("the control plane may not list and watch %s", resource.GroupResource())
		}
	}
}

// TestRoleFitsTheDeployMode expects the right to write what fleets are made of in the control plane's namespace alone,
// or everywhere when fleets run beside their Gateways; and in both modes to ask about the tokens that Envoys show, and
// to follow CRDs.
func TestRoleFitsTheDeployMode(t *testing.T) {
	for rendering, cluster := range map[string]bool{"default": false, "gateway-namespace": true} {
		var writes, watches []rbacv1.PolicyRule
		bound := map[string]bool{}
		for _, obj := range decode(t, helmTemplate(t, "gatehouse", renderings[rendering]...)) {
			switch obj := obj.(type) {
			case *rbacv1.ClusterRole:
				if obj.Name == "gatehouse" {
					watches = obj.Rules
				} else if cluster {
					writes = obj.Rules
				}
			case *rbacv1.Role:
				if obj.Name == "gatehouse-infra" && !cluster {
					writes = obj.Rules
				}
			case *rbacv1.ClusterRoleBinding:
				bound[obj.RoleRef.Kind+" "+obj.RoleRef.Name] = true
			case *rbacv1.RoleBinding:
				bound[obj.RoleRef.Kind+" "+obj.RoleRef.Name] = true
			}
		}
		if role := map[bool]string{true: "ClusterRole", false: "Role"}[cluster] + " gatehouse-infra"; !bound[role] {
			t.Errorf("%s: the control plane does not have %s, but %v", rendering, role, bound)
		}
		for _, verb := range []string{"list", "watch", "create", "patch", "delete"} {
			for _, resource := range []string{
				"deployments.apps", "daemonsets.apps", "services", "serviceaccounts",
				"configmaps",
			} {
				if !grants(writes, resource, verb) {
					t.Errorf("%s: the control plane may not %s %s", rendering, verb, resource)
				}
			}
		}
		if !grants(watches, "tokenreviews.authentication.k8s.io", "create") ||
			!grants(watches, "customresourcedefinitions.apiextensions.k8s.io", "watch") {
			t.Errorf("%s: the control plane may not review tokens or not watch CRDs: %v", rendering, watches)
		}
	}
}

// TestRightsToItsOwn expects the control plane to have on what it writes for itself the verbs that it uses, and on
// nothing but its own objects.
func TestRightsToItsOwn(t *testing.T) {
	got := map[string]string{}
	for _, obj := range decode(t, helmTemplate(t, "gatehouse")) {
		var rules []rbacv1.PolicyRule
		switch obj := obj.(type) {
		case *rbacv1.ClusterRole:
			rules = obj.Rules
		case *rbacv1.Role:
			rules = obj.Rules
		}
		for _, rule := range rules {
			for _, resource := range rule.Resources {
				if slices.ContainsFunc(rule.Verbs, func(verb string) bool {
					return verb != "list" && verb != "watch" &&
						verb != "get"
				}) {
					got[strings.Join(append([]string{resource}, rule.ResourceNames...), " ")] = strings.Join(rule.Verbs, " ")
				}
			}
		}
	}
	for resource, verbs := range map[string]string{
		"leases":                  "create",
		"leases gatehouse-leader": "get update",
		"secrets":                 "create",
		"secrets gatehouse gatehouse-ratelimit gatehouse-ratelimit-clients": "update",
		"validatingwebhookconfigurations gatehouse":                         "get patch",
		"mutatingwebhookconfigurations gatehouse":                           "get patch",
		"httproutes/status": "update",
		"gatewayclasses":    "patch",
		"deployments":       "get list watch create patch delete",
		"configmaps":        "create patch delete",
		"events":            "create",
	} {
		if got[resource] != verbs {
			t.Errorf("the rights to %s are %q, want %q", resource, got[resource], verbs)
		}
	}
}

// grants reports whether the rules allow a verb on a resource, which is named with its group.
func grants(rules []rbacv1.PolicyRule, resource, verb string) bool {
	wanted := schema.ParseGroupResource(resource)
	return slices.ContainsFunc(rules, func(rule rbacv1.PolicyRule) bool {
		return slices.Contains(rule.APIGroups, wanted.Group) && slices.Contains(rule.Resources, wanted.Resource) &&
			slices.Contains(rule.Verbs, verb)
	})
}

// checkClusterRole expects a role to write nothing in foreign namespaces but status and what names itself. In
// GatewayNamespace mode a role of its own may write the objects that run Envoys.
func checkClusterRole(t *testing.T, role *rbacv1.ClusterRole, infraEverywhere bool) {
	t.Helper()
	checkNoWildcard(t, role.Name, role.Rules)
	if infraEverywhere && role.Name == "gatehouse-infra" {
		return
	}
	// GatewayClasses get a finalizer, and reports tell of rules.
	harmless := []string{
		"tokenreviews", "subjectaccessreviews", "gatewayclasses", "events", "reports", "clusterreports", "policyreports",
		"clusterpolicyreports",
	}
	for _, rule := range role.Rules {
		reads := !slices.ContainsFunc(rule.Verbs, func(verb string) bool {
			return !slices.Contains([]string{"get", "list", "watch"}, verb)
		})
		if reads || len(rule.ResourceNames) > 0 {
			continue
		}
		for _, resource := range rule.Resources {
			if !strings.Contains(resource, "/") && !slices.Contains(harmless, resource) {
				t.Errorf("ClusterRole %s may %v all %s", role.Name, rule.Verbs, resource)
			}
		}
	}
}

func checkNoWildcard(t *testing.T, role string, rules []rbacv1.PolicyRule) {
	t.Helper()
	for _, rule := range rules {
		if slices.Contains(slices.Concat(rule.APIGroups, rule.Resources, rule.Verbs), "*") {
			t.Errorf("role %s has a wildcard: %v", role, rule)
		}
	}
}
