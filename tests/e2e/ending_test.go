package e2e

import (
	"fmt"
	"net/http"
	"testing"
	"time"
)

// TestPodsThatEndAtOnce: a backend whose pods end as soon as they are told to, with no time for Envoy to hear of it, is
// scaled from three pods to one and back under load, and no request fails.
func TestPodsThatEndAtOnce(t *testing.T) {
	t.Parallel()
	s := newScene(t, "ending")
	s.apply(t, fmt.Sprintf(echoServer, "a", 3), plainGateway, route("r", "ending.example.com"))
	at := address(t, s.namespace, "gw")
	settles(t, at, "GET ending.example.com/", http.StatusOK)
	var stops []func() (int64, int64, error)
	for range 8 {
		stops = append(stops, load(at, "ending.example.com"))
	}
	for range 5 {
		for _, pods := range []string{"3", "1"} {
			s.kubectl(t, "scale", "deployment/a", "--replicas="+pods)
			s.becomes(t, "deployment/a", "{.status.readyReplicas}", pods)
			time.Sleep(time.Second) // The pods that are not to stay have gone by then.
		}
	}
	for _, stop := range stops {
		noneFailed(t, stop)
	}
}
