package issuer

import (
	"regexp"
	"slices"
	"strings"

	acmev1 "github.com/cert-manager/cert-manager/pkg/apis/acme/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// challengePath is where an ACME server asks for the answer to an HTTP-01 challenge (RFC 8555, section 8.3).
const challengePath = "/.well-known/acme-challenge/"

// keyAuthorization is the form of an answer: the token, and the SHA-256 hash of the key of the account (RFC 8555, section
// 8.1). There is no room for anything else in it.
var keyAuthorization = regexp.MustCompile(`^[A-Za-z0-9_-]{16,512}\.[A-Za-z0-9_-]{43}$`)

// Challenger is the Challenge that a route says it was made for; empty if it says none.
func Challenger(route metav1.Object) string {
	return MadeFor(route, acmev1.SchemeGroupVersion.WithKind(acmev1.ChallengeKind))
}

// Answer is the answer to the Challenge that a route was made for. It is empty unless the route is exactly what
// cert-manager makes for this Challenge: a route may be written by anybody. A Challenge has its answer until it is
// deleted, because its route is deleted a moment later than it is finished.
func Answer(c *acmev1.Challenge, route *gwapiv1.HTTPRoute) string {
	owner := metav1.GetControllerOfNoCopy(route)
	token, _, _ := strings.Cut(c.Spec.Key, ".")
	if owner == nil || owner.UID != c.UID || c.Namespace != route.Namespace ||
		c.Spec.Type != acmev1.ACMEChallengeTypeHTTP01 || token != c.Spec.Token ||
		!keyAuthorization.MatchString(c.Spec.Key) || !slices.Equal(route.Spec.Hostnames, []gwapiv1.Hostname{
		gwapiv1.Hostname(c.Spec.DNSName),
	}) || !asks(route.Spec.Rules, token) {
		return ""
	}
	return c.Spec.Key
}

// asks reports whether rules match the request of an ACME server for a token, and nothing else.
func asks(rules []gwapiv1.HTTPRouteRule, token string) bool {
	if len(rules) != 1 || len(rules[0].Matches) != 1 || len(rules[0].Filters) > 0 {
		return false
	}
	match := rules[0].Matches[0]
	return match.Path != nil && match.Path.Type != nil && *match.Path.Type == gwapiv1.PathMatchExact &&
		match.Path.Value != nil && *match.Path.Value == challengePath+token &&
		match.Method == nil && len(match.Headers) == 0 && len(match.QueryParams) == 0
}
