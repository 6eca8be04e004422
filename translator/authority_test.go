package translator

import (
	"strings"
	"testing"
)

func TestCheckAuthorities(t *testing.T) {
	one, two := string(pairs[0]["tls.crt"]), string(pairs[1]["tls.crt"])
	for name, c := range map[string]struct{ bundle, want string }{
		"one":                  {one, ""},
		"several":              {one + two, ""},
		"words in between":     {"# Example\n" + one + "\n# Another\n" + two + "the end\n", ""},
		"empty":                {"", "has no certificate"},
		"words alone":          {"hello", "has no certificate"},
		"a key":                {one + string(pairs[0]["tls.key"]), `PEM block "PRIVATE KEY"`},
		"cut off":              {one + two[:len(two)/2], "cannot be read"},
		"garbage in the block": {"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot be parsed"},
	} {
		t.Run(name, func(t *testing.T) {
			err := checkAuthorities([]byte(c.bundle))
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("checkAuthorities: %v, want %q", err, c.want)
			}
		})
	}
}

func FuzzCheckAuthorities(f *testing.F) {
	f.Add(pairs[0]["tls.crt"])
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, bundle []byte) {
		if checkAuthorities(bundle) == nil && checkAuthorities(append(bundle, "\n-----BEGIN CERTIFICATE-----\n"...)) == nil {
			t.Error("a bundle that is cut off is taken")
		}
	})
}
