package certificate

import (
	"fmt"
	"slices"
	"strings"
)

// Excludes says which constraint on names in a chain of CA certificates excludes a host, in a text that fits behind the
// name of who issues with them; empty if none does, or if the chain cannot be read. Clients refuse a certificate that
// violates such a constraint (RFC 5280, section 4.2.1.10).
func Excludes(chain []byte, host string) string {
	authorities, err := parseChain(chain)
	if err != nil {
		return ""
	}
	for _, ca := range authorities {
		in := func(domain string) bool { return inDomain(host, domain) }
		switch {
		case len(ca.PermittedDNSDomains) > 0 && !slices.ContainsFunc(ca.PermittedDNSDomains, in):
			return fmt.Sprintf("has a CA certificate that permits %s only, and not %q: use such a hostname, or name another issuer",
				Listed(ca.PermittedDNSDomains), host)
		case slices.ContainsFunc(ca.ExcludedDNSDomains, in):
			return fmt.Sprintf("has a CA certificate that excludes %s, and so %q: use another hostname, or name another issuer",
				Listed(ca.ExcludedDNSDomains), host)
		}
	}
	return ""
}

// inDomain reports whether a host, or all hosts that a wildcard stands for, are in the domain of a constraint. A dot at
// its beginning excludes the domain itself.
func inDomain(host, domain string) bool {
	name, below := strings.CutPrefix(strings.ToLower(host), "*.")
	domain, onlyBelow := strings.CutPrefix(strings.ToLower(domain), ".")
	if domain == "" || strings.HasSuffix(name, "."+domain) {
		return true
	}
	return name == domain && (below || !onlyBelow)
}
