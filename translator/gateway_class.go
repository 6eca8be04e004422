package translator

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/envoyproxy"
	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
	"gatehouse/translator/status"
)

// declareClasses: GatewayClasses and the settings of fleets.
func (t *Tables) declareClasses() {
	t.classesByProxy = flow.NewIndex(t.in.classes, "classes by EnvoyProxy", proxyOfClass)
	t.gatewaysByProxy = flow.NewIndex(t.in.gateways, "Gateways by EnvoyProxy", proxyOfGateway)
	t.envoyProxies = flow.Derive(t.in.envoyProxies, "EnvoyProxies with their problems", (*envoyProxyRow).equal,
		t.judgeEnvoyProxy)
	t.classes = flow.Derive(t.in.classes, "classes", (*classRow).equal, t.class)
	t.usedClasses = flow.Group(flow.NewIndex(t.in.gateways, "Gateways by class", namedClass),
		"used classes", flow.Same[bool], anyMember)
	t.classUses = flow.Derive(t.classes, "uses of classes", flow.Same[classUse], t.classUse)
}

const reasonInvalidParameters = "InvalidParameters"

// classRow is a GatewayClass that names this controller.
type classRow struct {
	Class      *gwapiv1.GatewayClass
	EnvoyProxy *v1alpha1.EnvoyProxy
	Problems   []verdict.Problem
}

func (c *classRow) equal(o *classRow) bool {
	return c.Class == o.Class && c.EnvoyProxy == o.EnvoyProxy && equalProblems(c.Problems, o.Problems)
}

func (t *Tables) class(r *flow.Read, _ string, c *gwapiv1.GatewayClass) (*classRow, bool) {
	if !t.ours(c) {
		return nil, false
	}
	row := &classRow{Class: c}
	ref := c.Spec.ParametersRef
	if ref == nil {
		return row, true
	}
	p := parameters{Field: "spec.parametersRef", Group: string(ref.Group), Kind: string(ref.Kind), Name: ref.Name}
	if ref.Namespace != nil {
		p.Namespace = string(*ref.Namespace)
	}
	if p.Namespace == "" {
		row.Problems = append(row.Problems, verdict.Problem{
			Field: "spec.parametersRef.namespace", Reason: reasonInvalidParameters, Weight: verdict.Invalid,
			Message: fmt.Sprintf("EnvoyProxy %q has no namespace: name the one it lives in", ref.Name),
		})
		return row, true
	}
	row.EnvoyProxy, row.Problems = t.envoyProxy(r, p)
	return row, true
}

// parameters is a parametersRef of a GatewayClass or of a Gateway.
type parameters struct {
	Field, Group, Kind, Namespace, Name string
}

// envoyProxy resolves parameters. An EnvoyProxy with problems is returned too. While it has problems, no fleet is
// created or changed, but running Envoys still listen where it says and authenticate with the account that it names.
func (t *Tables) envoyProxy(r *flow.Read, p parameters) (*v1alpha1.EnvoyProxy, []verdict.Problem) {
	if p.Group != v1alpha1.GroupVersion.Group || p.Kind != v1alpha1.KindEnvoyProxy {
		problem := verdict.WrongKind(p.Group, p.Kind, "hold parameters", "refer to an EnvoyProxy of group "+v1alpha1.GroupName)
		problem.Field, problem.Reason = p.Field, reasonInvalidParameters
		return nil, []verdict.Problem{problem}
	}
	row, ok := t.envoyProxies.Get(r, Key(p.Namespace, p.Name))
	if !ok {
		missing := verdict.Ref{Group: p.Group, Kind: p.Kind, Namespace: p.Namespace, Name: p.Name}
		return nil, []verdict.Problem{verdict.Absent(p.Field+".name", missing, reasonInvalidParameters)}
	}
	if len(row.Problems) == 0 {
		return row.EnvoyProxy, nil
	}
	return row.EnvoyProxy, []verdict.Problem{{
		Field: p.Field, Reason: reasonInvalidParameters, Weight: verdict.Invalid,
		Message: fmt.Sprintf("EnvoyProxy %s/%s is not valid: %s", p.Namespace, p.Name, row.Problems[0]),
	}}
}

// envoyProxyRow is an EnvoyProxy that was judged on its own.
type envoyProxyRow struct {
	EnvoyProxy *v1alpha1.EnvoyProxy
	Problems   []verdict.Problem
}

func (f *envoyProxyRow) equal(o *envoyProxyRow) bool {
	return f.EnvoyProxy == o.EnvoyProxy && equalProblems(f.Problems, o.Problems)
}

func (t *Tables) judgeEnvoyProxy(_ *flow.Read, _ string, ep *v1alpha1.EnvoyProxy) (*envoyProxyRow, bool) {
	return &envoyProxyRow{EnvoyProxy: ep, Problems: append(t.rules.Check(ep), envoyproxy.Problems(ep)...)}, true
}

func (t *Tables) classStatus(r *flow.Read, key string, c *gwapiv1.GatewayClass) (*Status, bool) {
	row, ok := t.classes.Get(r, key)
	if !ok {
		return nil, false
	}
	accepted := status.Condition(string(gwapiv1.GatewayClassConditionStatusAccepted),
		string(gwapiv1.GatewayClassReasonAccepted),
		"This GatewayClass is served by Gatehouse.", row.Problems)
	return newStatus(c, row.Problems, &gwapiv1.GatewayClassStatus{
		Conditions: []metav1.Condition{accepted}, SupportedFeatures: t.supportedFeatures(r),
	}), true
}
