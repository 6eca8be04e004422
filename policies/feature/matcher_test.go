package feature

import "testing"

// FuzzParsePrefix checks that an accepted range stays the same when it is written out and parsed again, and that the message
// of a rejection helps: the value that it suggests is accepted.
func FuzzParsePrefix(f *testing.F) {
	for _, seed := range []string{
		"10.0.0.0/8", "192.0.2.77/24", "2001:db8::/32", "::ffff:10.0.0.1/104", "fe80::1%eth0/64",
		"10.0.0.1", "/8", "10.0.0.0/33", "0.0.0.0/0", "::/0",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, written string) {
		prefix, err := ParsePrefix(written)
		if err != nil {
			if err.Error() == "" {
				t.Error("a refusal without words")
			}
			return
		}
		again, err := ParsePrefix(prefix.String())
		if err != nil || again != prefix {
			t.Errorf("%q became %s, which became %s (%v)", written, prefix, again, err)
		}
		if prefix.Addr().Zone() != "" || prefix != prefix.Masked() {
			t.Errorf("%q became %s, which Envoy does not take as it is", written, prefix)
		}
	})
}
