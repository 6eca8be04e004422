package fetch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"gatehouse/controller/fetch/disk"
	"gatehouse/infra/kubetest"
	"gatehouse/policies/feature"
	"gatehouse/translator"
)

// source is a web server that can be shut down and started again at the same address.
type source struct {
	address string
	server  *httptest.Server
	// content is what it answers, text or a status; asked counts requests, known those that were answered with 304.
	content      atomic.Value
	asked, known atomic.Int32
}

func newSource(t *testing.T, content string) *source {
	t.Helper()
	s := &source{address: "127.0.0.1:0"}
	s.content.Store(content)
	s.start(t)
	t.Cleanup(func() { s.server.Close() })
	return s
}

func (s *source) start(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	s.address = listener.Addr().String()
	s.server = httptest.NewUnstartedServer(s)
	_ = s.server.Listener.Close() // It is replaced.
	s.server.Listener = listener
	s.server.Start()
}

func (s *source) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.asked.Add(1)
	content := s.content.Load().(string)
	tag := fmt.Sprintf("%q", content)
	switch {
	case content == "":
		w.WriteHeader(http.StatusServiceUnavailable)
	case r.Header.Get("If-None-Match") == tag:
		s.known.Add(1)
		w.WriteHeader(http.StatusNotModified)
	default:
		w.Header().Set("ETag", tag)
		_, _ = w.Write([]byte(content))
	}
}

// fetch is of a list.
func (s *source) fetch(refresh time.Duration) *translator.Fetch {
	return &translator.Fetch{Fetch: feature.Fetch{
		URL: "http://" + s.address + "/", Form: "a list", MaxBytes: 100, Refresh: refresh,
		Check: func(content []byte) error {
			if !strings.HasPrefix(string(content), "list") {
				return errors.New("is not a list")
			}
			return nil
		},
	}}
}

// replica is a Fetcher with a watch of its namespace.
type replica struct {
	*Fetcher
	metrics *prometheus.Registry
	// rest ends the fetching of what the leader has.
	rest func()
	mu   sync.Mutex
	has  map[string]translator.Fetched
}

// newReplica returns a replica that has seen everything that is stored.
func newReplica(t *testing.T, namespace string) *replica {
	t.Helper()
	return newReplicaWith(t, namespace, files(t, t.TempDir()))
}

// files opens a cache for 1 MiB.
func files(t *testing.T, directory string) *disk.Cache {
	t.Helper()
	c, err := disk.Open(directory, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newReplicaWith(t *testing.T, namespace string, cached *disk.Cache) *replica {
	t.Helper()
	r := &replica{has: map[string]translator.Fetched{}, metrics: prometheus.NewRegistry()}
	r.Fetcher = New(Config{
		Client: server.Client(t), Namespace: namespace, HTTP: &Client{Addresses: loopback, Timeout: time.Minute},
		Files: cached, MaxLarge: 1000, Put: r.put, Metrics: r.metrics, Log: logr.Discard(),
	})
	r.firstRetry, r.lastRetry, r.grace = 10*time.Millisecond, 50*time.Millisecond, 0
	r.large.retries = workqueue.NewTypedItemExponentialFailureRateLimiter[string](r.firstRetry, r.lastRetry)
	r.rest = during(t, r.Run)
	c, err := cache.New(server.Config(t), cache.Options{DefaultNamespaces: map[string]cache.Config{namespace: {}}})
	if err != nil {
		t.Fatal(err)
	}
	kubetest.Start(t, c.Start)
	informer, err := c.GetInformer(t.Context(), &corev1.ConfigMap{})
	if err != nil {
		t.Fatal(err)
	}
	seen, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { r.watched(o, false) },
		UpdateFunc: func(_, o any) { r.watched(o, false) },
		DeleteFunc: func(o any) { r.watched(o, true) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if !toolscache.WaitForCacheSync(t.Context().Done(), seen.HasSynced) {
		t.Fatal("the ConfigMaps were not listed")
	}
	return r
}

func (r *replica) watched(o any, deleted bool) {
	object, ok := o.(translator.Object)
	if !ok {
		return
	}
	r.Pass(translator.Event{Object: object, Deleted: deleted})
}

// put remembers what the translation would have.
func (r *replica) put(events ...translator.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range events {
		switch {
		case e.Fetched != nil && e.Deleted:
			delete(r.has, e.Fetched.Key)
		case e.Fetched != nil:
			r.has[e.Fetched.Key] = *e.Fetched
		}
	}
}

// lead leads until the function that it returns is called.
func (r *replica) lead(t *testing.T) (stop func()) {
	t.Helper()
	return during(t, r.Start)
}

// during runs something until the function that it returns is called.
func during(t *testing.T, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// await waits until the translation of the replica would have the content, or the failure.
func (r *replica) await(t *testing.T, key, content, failure string) {
	t.Helper()
	within(t, func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		got, ok := r.has[key]
		if !ok || string(got.Content) != content || got.Failure != failure {
			return fmt.Errorf("there is %t %q and failure %q, want %q and %q", ok, got.Content, got.Failure, content, failure)
		}
		return nil
	})
}

// wantResults expects the metric of that result to be at least count.
func (r *replica) wantResults(result string, count float64) error {
	families, err := r.metrics.Gather()
	if err != nil {
		return fmt.Errorf("read the metrics: %w", err)
	}
	for _, family := range families {
		for _, m := range family.Metric {
			if m.Label[0].GetValue() == result && m.Counter.GetValue() >= count {
				return nil
			}
		}
	}
	return fmt.Errorf("not %v fetches are %s: %v", count, result, families)
}

func namespace(t *testing.T) string {
	t.Helper()
	n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "fetch-"}}
	if err := server.Client(t).Create(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	return n.Name
}

// object reads what is stored of a fetch.
func object(t *testing.T, namespace, key string) (*corev1.ConfigMap, error) {
	t.Helper()
	c := &corev1.ConfigMap{}
	err := server.Client(t).Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: namePrefix + key}, c)
	return c, err
}

// within waits until the function returns no error, for at most 10 s.
func within(t *testing.T, try func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if err = try(); err == nil {
			return
		}
	}
	t.Fatal(err)
}
