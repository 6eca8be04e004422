package translator

import (
	"slices"
	"strings"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/gateway-api/pkg/features"
)

// served are the features of Gateway API that the translation carries out. It is the one list of them: the status of each
// GatewayClass shows it, and the official conformance suite runs the tests of what is in it. A feature comes here together with the
// code that serves it.
var served = []features.FeatureName{
	features.SupportGateway,
	features.SupportGatewayAddressEmpty,
	features.SupportGatewayHTTPListenerIsolation,
	features.SupportGatewayInfrastructure,
	features.SupportGatewayPort8080,
	features.SupportGatewayStaticAddresses,

	features.SupportReferenceGrant,

	features.SupportGRPCRoute,
	features.SupportGRPCRouteNamedRouteRule,

	features.SupportHTTPRoute,
	features.SupportHTTPRoute303RedirectStatusCode,
	features.SupportHTTPRoute307RedirectStatusCode,
	features.SupportHTTPRoute308RedirectStatusCode,
	features.SupportHTTPRouteBackendProtocolH2C,
	features.SupportHTTPRouteBackendProtocolWebSocket,
	features.SupportHTTPRouteBackendRequestHeaderModification,
	features.SupportHTTPRouteBackendTimeout,
	features.SupportHTTPRouteDestinationPortMatching,
	features.SupportHTTPRouteHostRewrite,
	features.SupportHTTPRouteMethodMatching,
	features.SupportHTTPRouteNamedRouteRule,
	features.SupportHTTPRouteParentRefPort,
	features.SupportHTTPRoutePathRedirect,
	features.SupportHTTPRoutePathRewrite,
	features.SupportHTTPRoutePortRedirect,
	features.SupportHTTPRouteQueryParamMatching,
	features.SupportHTTPRouteRequestTimeout,
	features.SupportHTTPRouteResponseHeaderModification,
	features.SupportHTTPRouteRetry,
	features.SupportHTTPRouteRetryConnectionError,
	features.SupportHTTPRouteSchemeRedirect,
}

// Features lists the features of Gateway API that the translation carries out, in the order of their names.
func Features() []features.FeatureName {
	return slices.SortedFunc(slices.Values(served), func(a, b features.FeatureName) int {
		return strings.Compare(string(a), string(b))
	})
}

// supportedFeatures is the list as GatewayClasses show it, sorted by name as the API asks (GatewayClassStatus.supportedFeatures).
func supportedFeatures() []gwapiv1.SupportedFeature {
	var shown []gwapiv1.SupportedFeature
	for _, name := range Features() {
		shown = append(shown, gwapiv1.SupportedFeature{Name: gwapiv1.FeatureName(name)})
	}
	return shown
}
