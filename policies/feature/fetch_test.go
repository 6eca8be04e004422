package feature

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestCheckURL(t *testing.T) {
	long := "https://example.com/" + strings.Repeat("x", 2048)
	for text, fine := range map[string]bool{
		"https://example.com":              true,
		"http://idp.auth.svc:8080/a/b?c=d": true,
		"https://192.0.2.7/.well-known/x":  true,
		"https://[2001:db8::1]:8443/":      true,
		"HTTPS://EXAMPLE.COM/":             true,
		"":                                 false,
		"example.com/x":                    false,
		"//example.com/x":                  false,
		"ftp://example.com/x":              false,
		"file:///etc/passwd":               false,
		"http:example.com":                 false,
		"https:///x":                       false,
		"https://:443/x":                   false,
		"https://kim:secret@example.com/":  false,
		"https://example.com/#part":        false,
		"https://example.com:0/":           false,
		"https://example.com:65536/":       false,
		"https://example.com/\r\nHost: b":  false,
		long:                               false,
	} {
		problems := CheckURL("spec.url", text)
		if (len(problems) == 0) != fine {
			t.Errorf("%q: got %v, want fine %t", text, problems, fine)
		}
		for _, p := range problems {
			if strings.Contains(p.Message, "secret") {
				t.Errorf("%q: the message has the password: %s", text, p)
			}
		}
	}
}

// TestFetchesAreOneByAllOfThem: the key of a fetch changes with each of its parts, and with nothing else.
func TestFetchesAreOneByAllOfThem(t *testing.T) {
	first := Fetch{URL: "https://a.test/", Form: "a list", MaxBytes: 10, Refresh: time.Hour}
	keys := map[string]bool{first.Key(): true}
	for _, change := range []func(*Fetch){
		func(f *Fetch) { f.URL += "b" },
		func(f *Fetch) { f.Form += "b" },
		func(f *Fetch) { f.MaxBytes++ },
		func(f *Fetch) { f.Refresh++ },
		func(f *Fetch) { f.Through = "backend" },
		func(f *Fetch) { f.Large = true },
		func(f *Fetch) { f.SHA256 = "b" },
		func(f *Fetch) { f.URL, f.Form = f.URL+`" "`, "" },
	} {
		other := first
		change(&other)
		if keys[other.Key()] {
			t.Errorf("%+v has the key of another fetch", other)
		}
		keys[other.Key()] = true
	}
	same := first
	same.Check = func([]byte) error { return nil }
	if same.Key() != first.Key() {
		t.Error("equal fetches have different keys")
	}
}

func TestCheckSHA256(t *testing.T) {
	digits := strings.Repeat("0123456789abcdef", 4)
	for text, fine := range map[string]bool{
		digits: true, "": false, digits[1:]: false, digits + "00": false, "sha256:" + digits: false,
		strings.ToUpper(digits): false, digits[:63] + "g": false,
	} {
		if problems := CheckSHA256("spec.sha256", text); (len(problems) == 0) != fine {
			t.Errorf("%q: got %v, want fine %t", text, problems, fine)
		}
	}
}

// FuzzCheckURL checks that each URL without problems can be requested from a host.
func FuzzCheckURL(f *testing.F) {
	for _, seed := range []string{
		"https://example.com/a?b=c", "http://[::1]:80", "https://a%20b/", "http://a/\x7f",
		"https://ä.example/",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(CheckURL("spec.url", text)) > 0 {
			return
		}
		request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, text, nil)
		if err != nil || request.URL.Hostname() == "" || request.URL.User != nil {
			t.Errorf("%q: %v, %v", text, request, err)
		}
	})
}
