package webhook

import (
	"context"
	"errors"
	"strings"
	"testing"

	"gatehouse/translator"
)

// guarded is a rule about what takes effect.
const guarded = `apiVersion: gatehouse.dev/v1alpha1
kind: AdmissionRule
metadata: {name: guarded}
spec:
  FAILUREPOLICY
  matchConstraints:
    resourceRules: [{apiGroups: ["*"], apiVersions: ["*"], resources: [httproutes, gateways], operations: ["*"]}]
  validations:
  - expression: effective.routes.all(r, has(r.authentication))
    message: "the route does not authenticate: attach a SecurityPolicy"
`

const aGateway = `apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: eg}
spec: {controllerName: gateway.envoyproxy.io/gatewayclass-controller}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Secret
metadata: {name: users, namespace: shop}
data: {.htpasswd: YWxpY2U6e1NIQX01ZW42RzZNZXpScm9UM1hLcWtkUE9tWS9CZlE9Cg==}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: eg, namespace: shop}
spec: {gatewayClassName: eg, listeners: [{name: http, protocol: HTTP, port: 80}]}
`

const aRoute = `object:
  apiVersion: gateway.networking.k8s.io/v1
  kind: HTTPRoute
  metadata: {name: cart, namespace: shop}
  spec: {parentRefs: [{name: eg}], rules: [{}]}
`

const aLogin = `apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: login, namespace: shop}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: cart}]
  basicAuth: {users: {name: users}}
`

// TestRulesWaitForWhatWasJustStored: a policy that the tables learn of a moment later is not missed.
func TestRulesWaitForWhatWasJustStored(t *testing.T) {
	for name, late := range map[string]string{"the route does not authenticate": "", "": aLogin} {
		world := newTables(t, []byte(aGateway))
		changes, _ := triers(t, world)
		there := decode(t, []byte(aGateway))
		tries := 0
		s := serve(t, Options{
			Trier: changes, Namespaces: stored(there),
			Rules: rulesOf(t, []byte(strings.Replace(guarded, "FAILUREPOLICY", "severity: deny", 1)), stored(there)),
			Effective: func(ctx context.Context, change translator.Event) (translator.Trial, error) {
				trial, err := world.TryEffective(ctx, change)
				if tries++; tries == 1 {
					learn(t, world, []byte(late))
				}
				return trial, err
			},
		})
		answer := s.ask(t, []byte(aRoute))
		if answer.Allowed != (late != "") || !answer.Allowed && !strings.Contains(answer.Result.Message, name) {
			t.Errorf("with %q a moment later: %s", late, told(answer))
		}
		if tries != 2 {
			t.Errorf("the change was tried %d times for rules, want 2", tries)
		}
	}
}

// TestEffectiveIsComputedForRulesThatReadIt: nothing is computed for changes that no such rule is about. If it cannot be
// computed, the failurePolicy of the rule decides, and the message says why.
func TestEffectiveIsComputedForRulesThatReadIt(t *testing.T) {
	there := decode(t, []byte(aGateway))
	const policy = "FAILUREPOLICY"
	for _, c := range []struct{ name, failurePolicy, request, want string }{
		{
			"cannot be computed", "severity: deny", aRoute,
			"rule guarded: the rule cannot be evaluated: trying the change: no time left: try again, or ask its owner",
		},
		{"cannot be computed and need not", "failurePolicy: Ignore", aRoute, ""},
		{
			"another kind", "severity: deny",
			strings.NewReplacer("HTTPRoute", "GRPCRoute", "rules: [{}]", "rules: []").Replace(aRoute), "",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			computed := false
			s := serve(t, Options{
				Trier: newWorld(t, []byte(aGateway)), Namespaces: stored(there),
				Rules: rulesOf(t, []byte(strings.Replace(guarded, policy, c.failurePolicy, 1)), stored(there)),
				Effective: func(context.Context, translator.Event) (translator.Trial, error) {
					computed = true
					return translator.Trial{}, errors.New("no time left")
				},
			})
			answer := s.ask(t, []byte(c.request))
			if answer.Allowed != (c.want == "") || !answer.Allowed && answer.Result.Message != c.want {
				t.Errorf("%s, want %q", told(answer), c.want)
			}
			if asked := strings.Contains(c.request, "HTTPRoute"); computed != asked {
				t.Errorf("effective was computed: %t, want %t", computed, asked)
			}
		})
	}
}
