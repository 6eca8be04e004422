package policies

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/feature"
)

// silent are the features that say nothing about the effective configuration, each with the reason: by kind and folder
// of the feature, or by the types of its filters.
var silent = map[string]string{
	"HTTPRouteRule RequestHeaderModifier":    "only the route changes headers, so rules find the changes in the object",
	"HTTPRouteRule URLRewrite":               "only the route rewrites, so rules find it in the object",
	"HTTPRouteRule sessionPersistence":       "only the route says it, and it is no matter of protection",
	"BackendTrafficPolicy tcpKeepalive":      "it finds dead connections, and is no limit or protection",
	"BackendTrafficPolicy dns":               "it says how names are resolved, and is no limit or protection",
	"BackendTrafficPolicy routingType":       "it says who chooses an endpoint, and is no limit or protection",
	"BackendTrafficPolicy telemetry":         "it is about what is told of requests, and is no limit or protection",
	"BackendTrafficPolicy useClientProtocol": "it is about how a protocol is spoken, and is no limit or protection",
	"BackendTrafficPolicy http2":             "it is about how a protocol is spoken, and is no limit or protection",
	"BackendTrafficPolicy responseOverride":  "it is about what responses look like, and is no limit or protection",
	"ClientTrafficPolicy tcpKeepalive":       "it finds dead connections, and is no limit or protection",
	"ClientTrafficPolicy grpc":               "it translates requests, and is no limit or protection",
	"ClientTrafficPolicy scheme":             "it is what backends see, and no limit or protection",
	"SecurityPolicy of a feature's filter":   "cors.Vary helps cors, which says it",
	"HTTPRouteFilter urlRewrite":             "as the filter URLRewrite of Gateway API",
	"HTTPRouteFilter directResponse":         "only the route says it, and it is no limit or protection",
	"HTTPRouteFilter matches":                "it is about which requests the rule gets, which the matches of the route say",
	"HTTPRouteFilter credentialInjection":    "it is about what backends are told, and is no limit or protection of the route",
	"HTTPRouteRule of a feature's filter":    "trace, grpcweb and retry.Repeat help all routes, or the retry that says it",
}

// TestFeaturesSayWhatTakesEffect: each feature has a part in the effective configuration, or a reason to have none.
func TestFeaturesSayWhatTakesEffect(t *testing.T) {
	unused := map[string]bool{}
	for key := range silent {
		unused[key] = true
	}
	for _, f := range features {
		key := f.kind + " " + f.name
		switch {
		case f.kind == ruleKind && len(f.types) > 0:
			key = f.kind + " " + string(f.types[0])
		case f.name == "" && f.kind != gatewayKind:
			key = f.kind + " of a feature's filter"
		}
		reason := silent[key]
		delete(unused, key)
		if f.tells == (reason != "") {
			t.Errorf("%s says something: %t, and the reason to say nothing is %q: give the feature Effective, or say why not",
				key, f.tells, reason)
		}
	}
	if len(unused) > 0 {
		t.Errorf("reasons for features that do not exist: %v", unused)
	}
}

// TestDefaultsSayNothing: what no object asks for is absent.
func TestDefaultsSayNothing(t *testing.T) {
	e := feature.Effective{}
	for _, kind := range Kinds {
		kind.Effective(kind.New(), feature.Have{}, &e)
	}
	EffectiveOfRule(&feature.Rule{}, feature.Have{}, &e)
	EffectiveOfGateway(&gwapiv1.Gateway{}, feature.Have{}, &e)
	if diff := cmp.Diff(feature.Effective{}, e); diff != "" {
		t.Errorf("empty objects say (-nothing +said):\n%s", diff)
	}
}
