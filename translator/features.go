package translator

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/gateway-api/pkg/features"

	"gatehouse/translator/flow"
)

// served is the only list of the features of Gateway API that the translation carries out. The status of each
// GatewayClass shows it, and the official conformance suite runs the tests of these features. A feature is added here
// together with the code that serves it.
var served = []features.FeatureName{
	features.SupportGateway,
	features.SupportGatewayAddressEmpty,
	features.SupportGatewayAddressRoutability,
	features.SupportGatewayAddressRoutabilityCluster,
	features.SupportGatewayBackendClientCertificate,
	features.SupportGatewayFrontendClientCertificateValidation,
	features.SupportGatewayFrontendClientCertificateValidationInsecureFallback,
	features.SupportGatewayHTTPListenerIsolation,
	features.SupportGatewayHTTPSListenerDetectMisdirectedRequests,
	features.SupportGatewayListenerFilters,
	features.SupportGatewayPort8080,
	features.SupportGatewayRouteHostnameIntersectionPrecedence,
	features.SupportGatewayStaticAddresses,

	features.SupportBackendTLSPolicy,
	features.SupportBackendTLSPolicySANValidation,

	features.SupportListenerSet,

	features.SupportReferenceGrant,

	features.SupportGRPCRoute,
	features.SupportGRPCRouteNamedRouteRule,
	features.SupportGRPCRouteRequestHeaderModifier,

	features.SupportHTTPRoute,
	features.SupportHTTPRoute303RedirectStatusCode,
	features.SupportHTTPRoute307RedirectStatusCode,
	features.SupportHTTPRoute308RedirectStatusCode,
	features.SupportHTTPRouteBackendProtocolH2C,
	features.SupportHTTPRouteBackendProtocolWebSocket,
	features.SupportHTTPRouteBackendRequestHeaderModification,
	features.SupportHTTPRouteBackendTimeout,
	features.SupportHTTPRouteBackendURLRewrite,
	features.SupportHTTPRouteCORS,
	features.SupportHTTPRouteDestinationPortMatching,
	features.SupportHTTPRouteHostRewrite,
	features.SupportHTTPRouteMethodMatching,
	features.SupportHTTPRouteNamedRouteRule,
	features.SupportHTTPRouteParentRefPort,
	features.SupportHTTPRoutePathRedirect,
	features.SupportHTTPRoutePathRewrite,
	features.SupportHTTPRoutePortRedirect,
	features.SupportHTTPRouteQueryParamMatching,
	features.SupportHTTPRouteRequestMirror,
	features.SupportHTTPRouteRequestMultipleMirrors,
	features.SupportHTTPRouteRequestPercentageMirror,
	features.SupportHTTPRouteRequestTimeout,
	features.SupportHTTPRouteResponseHeaderModification,
	features.SupportHTTPRouteRetryCodes,
	features.SupportHTTPRouteRetryConnectionError,
	features.SupportHTTPRouteSchemeRedirect,

	features.SupportTCPRoute,
	features.SupportTLSRoute,
	features.SupportTLSRouteModeMixed,
	features.SupportTLSRouteModeTerminate,
	features.SupportUDPRoute,
}

// servedBeside are also served if Envoys run in their Gateway's namespace, because Gateway API requires the objects
// that spec.infrastructure is about to be there.
var servedBeside = []features.FeatureName{
	features.SupportGatewayInfrastructure,
}

// servedWith are also served if the cluster serves a certain kind of objects.
var servedWith = map[features.FeatureName]schema.GroupKind{
	features.SupportClusterTrustBundle: ClusterTrustBundles,
}

// storedIn are served if the CRD of Gateways has the field that requests them.
var storedIn = map[features.FeatureName]Field{
	features.SupportGatewayAddressRoutability:        FieldRoutability,
	features.SupportGatewayAddressRoutabilityCluster: FieldRoutability,
	features.SupportGatewayListenerFilters:           FieldListenerFilters,
}

// Features lists the features of Gateway API that the translation carries out, in the order of their names. The kinds
// are the optional kinds that this cluster serves: not every cluster has them. Its CRDs are assumed to have all fields.
func (s Settings) Features(kinds ...schema.GroupKind) []features.FeatureName {
	all := slices.Clone(served)
	if s.InGatewayNamespace {
		all = append(all, servedBeside...)
	}
	for name, kind := range servedWith {
		if slices.Contains(kinds, kind) {
			all = append(all, name)
		}
	}
	slices.SortFunc(all, func(a, b features.FeatureName) int { return strings.Compare(string(a), string(b)) })
	return all
}

// supportedFeatures is the list as GatewayClasses show it, sorted by name as the API asks
// (GatewayClassStatus.supportedFeatures).
func (t *Tables) supportedFeatures(r *flow.Read) []gwapiv1.SupportedFeature {
	var kinds []schema.GroupKind
	for _, kind := range servedWith {
		if t.kindServed(r, kind) {
			kinds = append(kinds, kind)
		}
	}
	var shown []gwapiv1.SupportedFeature
	for _, name := range t.settings.Features(kinds...) {
		if field, ok := storedIn[name]; ok && t.fieldDropped(r, field) {
			continue
		}
		shown = append(shown, gwapiv1.SupportedFeature{Name: gwapiv1.FeatureName(name)})
	}
	return shown
}
