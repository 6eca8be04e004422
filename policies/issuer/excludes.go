package issuer

import (
	"fmt"
	"slices"
	"strings"

	acmev1 "github.com/cert-manager/cert-manager/pkg/apis/acme/v1"
	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
)

// Excludes says why an ACME issuer can never issue a certificate for a host, in a text that fits behind the name of the
// issuer; empty if it can, or if that cannot be known. Labels are those of the Certificate, which has those of the
// Gateway or ListenerSet.
func Excludes(spec *cmv1.IssuerSpec, host string, labels map[string]string) string {
	if spec.ACME == nil {
		return ""
	}
	solvers := solversFor(spec.ACME.Solvers, host, labels)
	switch {
	case len(solvers) == 0:
		return fmt.Sprintf("has no solver for %q: add one whose selector fits, or name another issuer", host)
	case strings.HasPrefix(host, "*.") && !slices.ContainsFunc(solvers, byDNS):
		return fmt.Sprintf("proves %q by HTTP-01 only, and a wildcard needs DNS-01: add a solver of type dns01, or name another issuer",
			host)
	}
	return ""
}

// ByGateway returns the solvers for a host that get the requests of HTTP-01 challenges through Gateways, if all of its
// solvers do.
func ByGateway(spec *cmv1.IssuerSpec, host string, labels map[string]string) []*acmev1.ACMEChallengeSolverHTTP01GatewayHTTPRoute {
	if spec.ACME == nil {
		return nil
	}
	var routes []*acmev1.ACMEChallengeSolverHTTP01GatewayHTTPRoute
	for _, solver := range solversFor(spec.ACME.Solvers, host, labels) {
		if byDNS(solver) || solver.HTTP01 == nil || solver.HTTP01.GatewayHTTPRoute == nil {
			return nil
		}
		routes = append(routes, solver.HTTP01.GatewayHTTPRoute)
	}
	return routes
}

func byDNS(s *acmev1.ACMEChallengeSolver) bool { return s.DNS01 != nil }

// solversFor are the solvers among which cert-manager chooses for a host.
func solversFor(all []acmev1.ACMEChallengeSolver, host string, labels map[string]string) (
	solvers []*acmev1.ACMEChallengeSolver,
) {
	for i := range all {
		if s := all[i].Selector; s == nil || selects(s, host, labels) {
			solvers = append(solvers, &all[i])
		}
	}
	return solvers
}

// selects reports whether the labels, and the names and zones if there are any, fit.
func selects(s *acmev1.CertificateDNSNameSelector, host string, labels map[string]string) bool {
	for key, value := range s.MatchLabels {
		if labels[key] != value {
			return false
		}
	}
	return (len(s.DNSNames) == 0 || slices.Contains(s.DNSNames, host)) &&
		(len(s.DNSZones) == 0 || slices.ContainsFunc(s.DNSZones, func(zone string) bool { return within(host, zone) }))
}

// within reports whether a host is a zone or in it. Case and a dot at the end do not matter.
func within(host, zone string) bool {
	host, zone = canonical(host), canonical(zone)
	return host == zone || strings.HasSuffix(host, "."+zone)
}

func canonical(name string) string { return strings.TrimSuffix(strings.ToLower(name), ".") }
