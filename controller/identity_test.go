package controller

import (
	"encoding/base64"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func TestExpiry(t *testing.T) {
	token := func(payload string) string {
		return "h." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".s"
	}
	for name, c := range map[string]struct {
		token string
		want  time.Time
	}{
		"a service account's": {token(`{"exp":1800000000,"sub":"x"}`), time.Unix(1800000000, 0)},
		"without an end":      {token(`{"sub":"x"}`), time.Time{}},
		"not JSON":            {token(`hello`), time.Time{}},
		"not a JWT":           {"opaque", time.Time{}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := expiry(c.token); !got.Equal(c.want) {
				t.Errorf("expiry: %v, want %v", got, c.want)
			}
		})
	}
}

func TestIdentitiesForgetFleets(t *testing.T) {
	i := NewIdentities(nil, "xds")
	i.Set("n/a", "ns/shared")
	i.Set("n/b", "ns/shared")
	i.Set("n/a", "ns/own")
	i.Set("n/b")
	if len(i.fleets["ns/shared"]) != 0 || !i.Knows("n/a") || i.Knows("n/b") {
		t.Errorf("fleets by account: %v, want n/a of ns/own only", i.fleets)
	}
}

// TestFleetWithTwoAccounts: while a fleet moves, its proxies prove themselves by either of two accounts, and in the end by one.
func TestFleetWithTwoAccounts(t *testing.T) {
	i := NewIdentities(nil, "xds")
	i.Set("n/a", "n/a", "system/a")
	if !slices.Equal(i.fleets["n/a"], []string{"n/a"}) || !slices.Equal(i.fleets["system/a"], []string{"n/a"}) {
		t.Errorf("fleets by account: %v, want n/a by both", i.fleets)
	}
	i.Set("n/a", "n/a")
	if len(i.fleets) != 1 {
		t.Errorf("fleets by account: %v, want n/a by n/a alone", i.fleets)
	}
}

// TestNoAnswerIsNoRefusal: a proxy is told to try again when the API server cannot be asked about its token, and not when the token is bad.
func TestNoAnswerIsNoRefusal(t *testing.T) {
	away := rest.CopyConfig(server.Config(t))
	away.Host = "https://127.0.0.1:1"
	mapper := server.Client(t).RESTMapper()
	c, err := client.New(away, client.Options{Mapper: mapper})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewIdentities(c, "xds").Authenticate(t.Context(), "token"); status.Code(err) != codes.Unavailable {
		t.Errorf("without an API server: %v, want code Unavailable", err)
	}
	if _, err := NewIdentities(server.Client(t), "xds").Authenticate(t.Context(), "token"); err == nil || status.Code(err) == codes.Unavailable {
		t.Errorf("a bad token: %v, want another code than Unavailable", err)
	}
}
