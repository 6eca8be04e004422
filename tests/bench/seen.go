package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// pause lets requests pass in each state that a change leads to, once it is seen in Envoy.
const pause = 100 * time.Millisecond

// revisionHeader is set by the route that serves the load, so that each of its changes shows in answers.
const revisionHeader = "X-Revision"

// seen waits until a change shows in Envoy, so that undoing it is another change for Envoy and the two do not become
// one.
func (b *bench) seen(ctx context.Context, shows func() error) error {
	if err := wait(ctx, 20*time.Second, shows); err != nil {
		return fmt.Errorf("a change does not reach Envoy: %w", err)
	}
	time.Sleep(pause)
	return nil
}

// answers fails unless an answer to the load's host on a port, over a connection of its own, has the header's value.
func (b *bench) answers(port int, header, value string) func() error {
	return func() error {
		request, err := http.NewRequest(http.MethodGet, fmt.Sprintf("http://%s:%d/", b.address, port), nil)
		if err != nil {
			return err
		}
		request.Host, request.Close = webHost, true
		request.Header.Set("Origin", "https://example.org")
		response, err := b.http.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if got := response.Header.Get(header); response.StatusCode != http.StatusOK || got != value {
			return fmt.Errorf("port %d answers %s with %s %q, not %q", port, response.Status, header, got, value)
		}
		return nil
	}
}

// serves fails unless a backend answers the load's host, as one of several. Envoy takes them in turn.
func (b *bench) serves(port int32) func() error {
	return func() error {
		if status, body := get(b.http, b.address, webHost); status != http.StatusOK || body != strconv.Itoa(int(port)) {
			return fmt.Errorf("backend %s answers with %d, not %d", body, status, port)
		}
		return nil
	}
}

// closed fails as long as the load's host answers on a port.
func (b *bench) closed(port int) func() error {
	return func() error {
		if status, _ := get(&http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}},
			fmt.Sprintf("%s:%d", b.address, port), webHost); status != 0 {
			return fmt.Errorf("port %d answers %d", port, status)
		}
		return nil
	}
}

// presents fails unless the certificate for a server name has the serial number.
func (b *bench) presents(host string, serial int64) func() error {
	return func() error {
		connection, err := tls.Dial("tcp", b.address+":443", &tls.Config{ServerName: host, InsecureSkipVerify: true})
		if err != nil {
			return err
		}
		defer connection.Close()
		if got := connection.ConnectionState().PeerCertificates[0].SerialNumber.Int64(); got != serial {
			return fmt.Errorf("%s has certificate %d, not %d", host, got, serial)
		}
		return nil
	}
}

// stats are the values of one of Envoy's statistics, by the name of the cluster, or by "" where it is not of a cluster.
// The pattern is that of Envoy's admin interface, a regular expression for names with dots.
func (b *bench) stats(ctx context.Context, pattern string) (map[string]float64, error) {
	pods := &corev1.PodList{}
	err := b.client.List(ctx, pods, client.MatchingLabels{
		"gateway.envoyproxy.io/owning-gateway-namespace": "default",
		"gateway.envoyproxy.io/owning-gateway-name":      "eg",
	})
	if err != nil || len(pods.Items) != 1 {
		return nil, fmt.Errorf("find the Envoy: %d pods: %w", len(pods.Items), err)
	}
	found, err := samples(http.DefaultClient, "http://"+pods.Items[0].Status.PodIP+":19001/stats/prometheus?filter="+
		url.QueryEscape(pattern))
	if err != nil {
		return nil, fmt.Errorf("read Envoy's statistics: %w", err)
	}
	values := map[string]float64{}
	for name, value := range found {
		values[label(name, "envoy_cluster_name")] += value
	}
	return values, nil
}

const (
	membersOf  = `^cluster\.service/default/(web|other)/80.*\.membership_total$`
	requestsTo = `^cluster\.service/default/(web|other)/80.*\.upstream_rq_total$`
	draining   = `^listener_manager\.total_(listeners|filter_chains)_draining$`
)

// members fails unless the Service web has a number of endpoints in Envoy.
func (b *bench) members(ctx context.Context, want int) func() error {
	return func() error {
		values, err := b.stats(ctx, membersOf)
		if got := values["service/default/web/80"]; err != nil || int(got) != want {
			return errors.Join(err, fmt.Errorf("%.0f endpoints of Service web, not %d", got, want))
		}
		return nil
	}
}

// removed waits, under load, until Envoy has no cluster that is like this, which takes the grace of 5 s from its last
// use.
func (b *bench) removed(ctx context.Context, is func(name string) bool) error {
	return b.seen(ctx, func() error {
		values, err := b.stats(ctx, membersOf)
		for name := range values {
			if is(name) {
				err = errors.Join(err, fmt.Errorf("cluster %s is still there", name))
			}
		}
		return err
	})
}

func isOther(name string) bool { return strings.HasPrefix(name, "service/default/other/") }

// hasSettings reports whether the cluster has settings of a policy, after which it is named too.
func hasSettings(name string) bool { return strings.Count(name, "/") > 3 }

// requestsTo is how many requests the clusters have got that are like this.
func (b *bench) requestsTo(ctx context.Context, like func(name string) bool) (float64, error) {
	values, err := b.stats(ctx, requestsTo)
	sum := 0.0
	for name, value := range values {
		if like(name) {
			sum += value
		}
	}
	return sum, err
}

// drained waits until earlier listeners and filter chains have ended, which a minute's drain time decides: only then
// are their streams broken.
func (b *bench) drained(ctx context.Context) error {
	return wait(ctx, 2*time.Minute, func() error {
		values, err := b.stats(ctx, draining)
		if got, known := values[""]; err != nil || !known || got > 0 {
			return errors.Join(err, errors.New("listeners are draining: "+strconv.FormatFloat(got, 'f', 0, 64)))
		}
		return nil
	})
}
