package fetch

import (
	"net/netip"
	"testing"
)

func prefixes(texts ...string) (all []netip.Prefix) {
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

// TestAddresses: by default nothing is fetched from the pod, its link and metadata services, in any notation. Of the
// operator's ranges and those, the longest decides.
func TestAddresses(t *testing.T) {
	byDefault := NewAddresses(nil, nil)
	closed := NewAddresses(prefixes("203.0.113.0/24", "2001:db8::/32"), prefixes("0.0.0.0/0", "::/0"))
	open := NewAddresses(prefixes("0.0.0.0/0", "::/0", "127.0.0.1/32"), nil)
	mixed := NewAddresses(prefixes("10.1.0.0/16", "10.2.0.0/16", "169.254.20.10/32"),
		prefixes("10.0.0.0/8", "10.2.3.4/16", "10.1.2.3/32"))
	for _, tt := range []struct {
		addresses *Addresses
		address   string
		want      bool
	}{
		{byDefault, "10.0.0.1", true},
		{byDefault, "192.168.1.1", true},
		{byDefault, "1.1.1.1", true},
		{byDefault, "2001:db8::1", true},
		{byDefault, "fd00::1", true},
		{byDefault, "::ffff:10.0.0.1", true},
		{byDefault, "64:ff9b::10.0.0.1", true},
		{byDefault, "127.0.0.1", false},
		{byDefault, "127.255.0.9", false},
		{byDefault, "::1", false},
		{byDefault, "::", false},
		{byDefault, "0.0.0.0", false},
		{byDefault, "0.1.2.3", false},
		{byDefault, "169.254.169.254", false},
		{byDefault, "fe80::1", false},
		{byDefault, "fe80::1%eth0", false},
		{byDefault, "224.0.0.1", false},
		{byDefault, "ff02::1", false},
		{byDefault, "255.255.255.255", false},
		{byDefault, "::ffff:127.0.0.1", false},
		{byDefault, "::ffff:169.254.169.254", false},
		{byDefault, "::127.0.0.1", false},
		{byDefault, "64:ff9b::127.0.0.1", false},
		{byDefault, "64:ff9b::a9fe:a9fe", false},
		{byDefault, "fd00:ec2::254", false},
		{byDefault, "100.100.100.200", false},
		{byDefault, "168.63.129.16", false},
		{closed, "203.0.113.9", true},
		{closed, "2001:db8::1", true},
		{closed, "1.1.1.1", false},
		{closed, "2001:db9::1", false},
		{closed, "64:ff9b::1.1.1.1", false},
		{open, "1.1.1.1", true},
		{open, "127.0.0.1", true},
		{open, "127.0.0.2", false},
		{open, "169.254.169.254", false},
		{mixed, "10.9.9.9", false},
		{mixed, "10.1.9.9", true},
		{mixed, "10.1.2.3", false},
		{mixed, "10.2.9.9", false},
		{mixed, "169.254.20.10", true},
		{mixed, "169.254.20.11", false},
	} {
		if got := tt.addresses.Allowed(netip.MustParseAddr(tt.address)); got != tt.want {
			t.Errorf("%s: allowed %t, want %t", tt.address, got, tt.want)
		}
	}
	if byDefault.Allowed(netip.Addr{}) {
		t.Error("no address at all is allowed")
	}
}

// TestOwnAddresses: the addresses of the machine's interfaces are its own, and each is one address.
func TestOwnAddresses(t *testing.T) {
	own, err := Own()
	if err != nil {
		t.Fatal(err)
	}
	denied := NewAddresses(prefixes("0.0.0.0/0", "::/0"), own)
	for _, p := range own {
		if !p.IsSingleIP() || p.Addr().IsLoopback() || denied.Allowed(p.Addr()) {
			t.Errorf("%s is an own address", p)
		}
	}
}
