package endpoints

import (
	"net/netip"
	"slices"
	"testing"

	"gatehouse/api/v1alpha1"
)

// TestWhatLeadsToEnvoy: addresses and names that mean Envoy's own host or link for Envoy, its resolver or the kernel
// are rejected, in any notation.
func TestWhatLeadsToEnvoy(t *testing.T) {
	for _, address := range []string{
		"127.0.0.1", "127.255.0.9", "0.0.0.0", "::", "::1", "::ffff:127.0.0.1", "0:0:0:0:0:ffff:7f00:1", "::ffff:0.0.0.0",
		"169.254.169.254", "::ffff:169.254.169.254", "fe80::1", "fe80::1%lo", "::1%lo", "224.0.0.1", "ff02::1",
		"fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "fd00:c1:0::a9fe:a9fe", "fd00:42::42", "fd00:a9fe:a9fe::1", "100.100.100.200", "168.63.129.16",
		"255.255.255.255", "127.1", "0177.0.0.1", "",
	} {
		if len(Check(withAddress(address))) == 0 {
			t.Errorf("address %q is taken", address)
		}
	}
	for _, name := range []string{
		"localhost", "LOCALHOST.", "a.localhost", "127.0.0.1", "127.0.0.01", "127.1", "0x7f.1", "0x7f000001", "2130706433",
		"a.0", "::1", "a", "", ".", "a..b", "*.example.com",
	} {
		if len(Check(withName(name))) == 0 {
			t.Errorf("name %q is taken", name)
		}
	}
}

func TestWhatCanBeSentTo(t *testing.T) {
	for _, address := range []string{"10.0.0.1", "192.0.2.7", "2001:db8::1", "fd00::1", "fd20:ce::253", "::ffff:10.0.0.1", "1.1.1.1"} {
		if problems := Check(withAddress(address)); len(problems) > 0 {
			t.Errorf("address %q: %v", address, problems)
		}
	}
	for _, name := range []string{
		"api.example.com", "api.example.com.", "a.b", "0.pool.ntp.org", "localhost.example.com", "notlocalhost.example",
	} {
		if problems := Check(withName(name)); len(problems) > 0 {
			t.Errorf("name %q: %v", name, problems)
		}
	}
}

func TestNamesAndAddressesApart(t *testing.T) {
	name, address := withName("api.example.com").Spec.Endpoints[0], withAddress("10.0.0.1").Spec.Endpoints[0]
	for _, endpoints := range [][]v1alpha1.BackendEndpoint{{name, address}, {address, name}} {
		b := &v1alpha1.Backend{Spec: v1alpha1.BackendSpec{Endpoints: endpoints}}
		if problems := Check(b); len(problems) != 1 {
			t.Errorf("%v: %v", endpoints, problems)
		}
	}
}

func withAddress(address string) *v1alpha1.Backend {
	return with(v1alpha1.BackendEndpoint{IP: &v1alpha1.IPEndpoint{Address: address, Port: 65535}})
}

func withName(name string) *v1alpha1.Backend {
	return with(v1alpha1.BackendEndpoint{FQDN: &v1alpha1.FQDNEndpoint{Hostname: name, Port: 1}})
}

func with(e v1alpha1.BackendEndpoint) *v1alpha1.Backend {
	return &v1alpha1.Backend{Spec: v1alpha1.BackendSpec{Endpoints: []v1alpha1.BackendEndpoint{e}}}
}

// TestRangesAreThoseOfAddresses: Envoy is told the same ranges that endpoints are refused for. Their ends and the addresses
// beside them are tried, but not those of IPv4 addresses that are written as IPv6 ones.
func TestRangesAreThoseOfAddresses(t *testing.T) {
	ranges := Unreachable()
	for _, r := range ranges {
		if r.Addr().Is4In6() {
			continue
		}
		last := r.Addr().AsSlice()
		for bit := r.Bits(); bit < r.Addr().BitLen(); bit++ {
			last[bit/8] |= 1 << (7 - bit%8)
		}
		end, _ := netip.AddrFromSlice(last)
		for _, a := range []netip.Addr{r.Addr().Prev(), r.Addr(), end, end.Next()} {
			if !a.IsValid() {
				continue
			}
			in := slices.ContainsFunc(ranges, func(r netip.Prefix) bool { return r.Contains(a) })
			if refused := unreachable(a.String()) != ""; refused != in {
				t.Errorf("%s is refused: %t, and in a range: %t", a, refused, in)
			}
		}
	}
}
