// Command bench measures Gatehouse on the local Kubernetes: what one more route and one refused route cost beside many others.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

func main() {
	routes := flag.Int("routes", 1000, "HTTPRoutes on the Gateway")
	tries := flag.Int("tries", 20, "how often each figure is taken")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *routes, *tries); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

// bench is a running cluster with a Gateway.
type bench struct {
	client  client.Client
	http    *http.Client
	address string
}

func run(ctx context.Context, routes, tries int) (err error) {
	root, err := filepath.Abs("..")
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "gatehouse-bench")
	if err != nil {
		return err
	}
	defer func() {
		out, failed := exec.Command(filepath.Join(root, "bin/cluster"), "--dir", dir, "down").CombinedOutput()
		if failed != nil {
			err = errors.Join(err, fmt.Errorf("cluster down: %w: %s", failed, out))
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	up := exec.CommandContext(ctx, filepath.Join(root, "tests/up.sh"), dir)
	up.Stdout, up.Stderr = os.Stderr, os.Stderr
	if err := up.Run(); err != nil {
		return fmt.Errorf("start the cluster: %w", err)
	}
	apply := exec.CommandContext(ctx, filepath.Join(root, "bin/kubectl"), "--kubeconfig", filepath.Join(dir, "kubeconfig"), "apply",
		"-f", filepath.Join(root, "manifests/quickstart.yaml"), "-f", filepath.Join(root, "tests/bench/one-worker.yaml"))
	if out, err := apply.CombinedOutput(); err != nil {
		return fmt.Errorf("apply the quickstart: %w: %s", err, out)
	}
	b, err := connect(ctx, dir)
	if err != nil {
		return err
	}
	return b.measure(ctx, routes, tries)
}

func connect(ctx context.Context, dir string) (*bench, error) {
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(dir, "kubeconfig"))
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	config.QPS, config.Burst = 1000, 1000
	scheme := runtime.NewScheme()
	if err := gwapiv1.Install(scheme); err != nil {
		return nil, err
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	b := &bench{client: c, http: &http.Client{Timeout: 5 * time.Second}}
	// A load balancer at 10.98.x.y is published at 127.N.x.y, N being that of the API server's loopback address.
	network := strings.Split(strings.TrimPrefix(config.Host, "https://"), ".")[1]
	return b, wait(ctx, 40*time.Second, func() error {
		gw := &gwapiv1.Gateway{}
		if err := c.Get(ctx, client.ObjectKey{Namespace: "default", Name: "eg"}, gw); err != nil {
			return err
		}
		if len(gw.Status.Addresses) == 0 {
			return errors.New("the Gateway has no address")
		}
		ip := strings.Split(gw.Status.Addresses[0].Value, ".")
		b.address = fmt.Sprintf("127.%s.%s.%s", network, ip[2], ip[3])
		_, err := b.until200("www.example.com")
		return err
	})
}

// wait tries until there is no error or the limit is over.
func wait(ctx context.Context, limit time.Duration, try func() error) error {
	var err error
	for end := time.Now().Add(limit); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
		if err = try(); err == nil {
			return nil
		}
	}
	return errors.Join(err, ctx.Err())
}

func route(name, path string) *gwapiv1.HTTPRoute {
	r := &gwapiv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	r.Spec.ParentRefs = []gwapiv1.ParentReference{{Name: "eg"}}
	r.Spec.Hostnames = []gwapiv1.Hostname{gwapiv1.Hostname(name + ".example.com")}
	port, kind := gwapiv1.PortNumber(3000), gwapiv1.PathMatchPathPrefix
	if path != "/" {
		kind = gwapiv1.PathMatchRegularExpression
	}
	ref := gwapiv1.HTTPBackendRef{}
	ref.Name, ref.Port = "backend", &port
	r.Spec.Rules = []gwapiv1.HTTPRouteRule{{
		Matches:     []gwapiv1.HTTPRouteMatch{{Path: &gwapiv1.HTTPPathMatch{Type: &kind, Value: &path}}},
		BackendRefs: []gwapiv1.HTTPBackendRef{ref},
	}}
	return r
}

// until200 asks each millisecond, for at most 5 s, and answers with the other statuses seen.
func (b *bench) until200(host string) (others map[int]int, err error) {
	others = map[int]int{}
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		request, err := http.NewRequest(http.MethodGet, "http://"+b.address+"/", nil)
		if err != nil {
			return nil, err
		}
		request.Host = host
		response, err := b.http.Do(request)
		if err != nil {
			others[0]++ // No answer at all, such as while the port is not open yet.
			continue
		}
		_, _ = io.Copy(io.Discard, response.Body) // Read to keep the connection.
		_ = response.Body.Close()                 // As above.
		if response.StatusCode == http.StatusOK {
			return others, nil
		}
		others[response.StatusCode]++
	}
	return others, fmt.Errorf("%s did not answer 200 within 5 s; statuses seen: %v", host, others)
}

func (b *bench) measure(ctx context.Context, routes, tries int) error {
	fmt.Fprintf(os.Stderr, "creating %d routes\n", routes)
	start := time.Now()
	for i := range routes {
		if err := b.client.Create(ctx, route(fmt.Sprintf("r%d", i), "/")); err != nil {
			return fmt.Errorf("create route %d: %w", i, err)
		}
	}
	created := time.Since(start)
	if _, err := b.until200(fmt.Sprintf("r%d.example.com", routes-1)); err != nil {
		return err
	}
	serves := time.Since(start)
	var accepted, first, refused []time.Duration
	others := map[int]int{}
	for i := range tries {
		start := time.Now()
		if err := b.client.Create(ctx, route(fmt.Sprintf("one-more-%d", i), "/")); err != nil {
			return fmt.Errorf("create one more route: %w", err)
		}
		stored := time.Now()
		seen, err := b.until200(fmt.Sprintf("one-more-%d.example.com", i))
		if err != nil {
			return err
		}
		accepted, first = append(accepted, stored.Sub(start)), append(first, time.Since(stored))
		for code, n := range seen {
			others[code] += n
		}
		start = time.Now()
		if err := b.client.Create(ctx, route(fmt.Sprintf("bad-%d", i), "/(")); err == nil {
			return errors.New("a route with a bad regular expression was stored")
		}
		refused = append(refused, time.Since(start))
	}
	fmt.Printf("| %d routes | p50 | p90 |\n|---|---|---|\n", routes)
	fmt.Printf("| creating them all / last one serves | %s / %s | |\n", created.Round(time.Millisecond), serves.Round(time.Millisecond))
	for _, row := range []struct {
		what  string
		times []time.Duration
	}{{"one more route: created to first 200", first}, {"create that is accepted: answer", accepted}, {"create that is refused: answer", refused}} {
		slices.Sort(row.times)
		fmt.Printf("| %s | %s | %s |\n", row.what, row.times[len(row.times)/2].Round(100*time.Microsecond), row.times[len(row.times)*9/10].Round(100*time.Microsecond))
	}
	fmt.Printf("\nother statuses seen by new routes while they came up: %v\n", others)
	return nil
}
