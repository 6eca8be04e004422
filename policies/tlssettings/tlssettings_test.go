package tlssettings

import (
	"strings"
	"testing"

	"gatehouse/api/v1alpha1"
)

// TestLongListsHaveOneProblem: however many entries a list has, what is wrong with it is told in a few words. A group of
// ciphers counts as all of its ciphers.
func TestLongListsHaveOneProblem(t *testing.T) {
	many := strings.Split(strings.Repeat("RC4,", 5000), ",")
	protocols := make([]v1alpha1.ALPNProtocol, 5000)
	for name, tls := range map[string]v1alpha1.TLSSettings{
		"ciphers":             {Ciphers: many},
		"a group of ciphers":  {Ciphers: []string{"[" + strings.Join(many, "|") + "]"}},
		"ecdhCurves":          {ECDHCurves: many},
		"signatureAlgorithms": {SignatureAlgorithms: many},
		"alpnProtocols":       {ALPNProtocols: protocols},
		"fingerprints":        {Fingerprints: make([]v1alpha1.TLSFingerprint, 5000)},
	} {
		problems := Check("tls", &tls)
		if len(problems) != 1 || !strings.Contains(problems[0].Message, "more than the 100") {
			t.Errorf("%s: %d problems, the first of which is %q", name, len(problems), problems[:min(1, len(problems))])
		}
	}
}
