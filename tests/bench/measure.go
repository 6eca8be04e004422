package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// bench measures from inside the cluster's network.
type bench struct {
	options
	client client.Client
	// raw asks the API server, whose address is apiServer, for what is not an object.
	raw       *http.Client
	apiServer string
	http      *http.Client
	address   string // Of the Gateway.
	back      *backends
	// oneMoreRoute is what the floor is compared to.
	oneMoreRoute times
	// revision is the number of the last change of the route that serves the load.
	revision int
}

// say hands a value to the table.
func say(what, format string, args ...any) {
	line, err := json.Marshal(row{what, fmt.Sprintf(format, args...)})
	if err != nil {
		panic(err) // Two strings always marshal.
	}
	fmt.Println(string(line))
}

func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, "  "+format+"\n", args...) }

// measure runs in the cluster's network.
func (o options) measure(ctx context.Context) error {
	b := &bench{options: o, http: &http.Client{
		Timeout:   5 * time.Second,
		Transport: &http.Transport{MaxIdleConnsPerHost: 2 * watchers},
	}}
	if err := b.connect(ctx); err != nil {
		return err
	}
	switch {
	case o.admission:
		return b.admitting(ctx)
	case o.certificates:
		return b.certificates(ctx)
	case o.ofSets:
		return b.listenerSets(ctx)
	case o.webhookOff:
		return b.creating(ctx, "webhook off: ")
	case o.scoped:
		if err := b.oneMore(ctx, "scoped: "); err != nil {
			return err
		}
		return b.floor(ctx, true)
	}
	steps := []func(context.Context) error{
		func(ctx context.Context) error { return b.creating(ctx, "") },
		func(ctx context.Context) error { return b.latencies(ctx, "") },
		func(ctx context.Context) error { return b.floor(ctx, false) },
		b.endpoints, b.idle, b.underLoad, b.churning, b.deleting,
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// connect makes the clients, the backends and the Gateway.
func (b *bench) connect(ctx context.Context) error {
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return fmt.Errorf("read the kubeconfig: %w", err)
	}
	config.QPS, config.Burst = 2000, 2000
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{gwapiv1.Install, corev1.AddToScheme, discoveryv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return err
		}
	}
	if b.raw, err = rest.HTTPClientFor(config); err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	b.apiServer = config.Host
	if b.client, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	if b.back, err = startBackends(); err != nil {
		return err
	}
	apply := exec.CommandContext(ctx, filepath.Join(b.root, "bin/kubectl"), "apply", "-f",
		filepath.Join(b.root, "tests/bench/gateway.yaml"))
	if out, err := apply.CombinedOutput(); err != nil {
		return fmt.Errorf("apply the GatewayClass: %w: %s", err, out)
	}
	for _, o := range append(service("first", 80, "", b.back.web[0]), gateway(b.scoped), route("first", "first", "/")) {
		if err := b.client.Create(ctx, o); err != nil {
			return fmt.Errorf("create %T %s: %w", o, o.GetName(), err)
		}
	}
	return wait(ctx, 40*time.Second, func() error {
		gw := &gwapiv1.Gateway{}
		if err := b.client.Get(ctx, client.ObjectKey{Namespace: "default", Name: "eg"}, gw); err != nil {
			return err
		}
		if len(gw.Status.Addresses) == 0 {
			return errors.New("the Gateway has no address")
		}
		b.address = gw.Status.Addresses[0].Value
		_, err := b.until("first.example.com", "")
		return err
	})
}

// wait tries until there is no error or the limit is over.
func wait(ctx context.Context, limit time.Duration, try func() error) error {
	var err error
	for end := time.Now().Add(limit); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		if err = try(); err == nil {
			return nil
		}
	}
	return errors.Join(err, ctx.Err())
}

// until asks each millisecond, for at most 20 s, until a host answers 200, with the body if one is given. It answers
// with the other statuses seen; 0 stands for no answer at all, such as while the port is not open yet.
func (b *bench) until(host, body string) (others map[int]int, err error) {
	return poll(b.http, b.address, host, body)
}

func poll(c *http.Client, address, host, body string) (others map[int]int, err error) {
	others = map[int]int{}
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		status, got := get(c, address, host)
		if status == http.StatusOK && (body == "" || got == body) {
			return others, nil
		}
		others[status]++
	}
	return others, fmt.Errorf("%s did not answer %q within 20 s; statuses seen: %v", host, body, others)
}

// times are latencies of one kind.
type times []time.Duration

// String is the median and the 90th percentile.
func (t times) String() string {
	if len(t) == 0 {
		return "-"
	}
	return fmt.Sprintf("%s / %s", round(t.at(50)), round(t.at(90)))
}

// at is a percentile.
func (t times) at(percent int) time.Duration {
	return slices.Sorted(slices.Values(t))[len(t)*percent/100]
}

func round(d time.Duration) string {
	if d > 10*time.Second {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(100 * time.Microsecond).String()
}
