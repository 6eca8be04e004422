package controller

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"reflect"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"google.golang.org/grpc/peer"

	"gatehouse/translator"
)

// ReplicasPath is where the leader receives the acknowledgements of the proxies of other replicas.
const ReplicasPath = "/replicas/proxies"

const (
	// beat is how often a replica repeats its report. A replica that is silent for four beats is forgotten together
	// with its proxies.
	beat    = 5 * time.Second
	silence = 4 * beat
	// collectFor is how long a replica collects reports of its proxies before it sends them to the leader.
	collectFor = 20 * time.Millisecond
	// reportLimit is the maximum size of a replica's report, in bytes.
	reportLimit = 64 << 20
)

// replicaReport is the body that a replica sends. It is always the complete state of its proxies, so that the next
// report repairs a lost one.
type replicaReport struct {
	Replica string
	Proxies []translator.Proxy
}

// ReplicaOptions are what Replicas need.
type ReplicaOptions struct {
	// Self is the name of this replica; Put adds events to the translation.
	Self string
	Put  func(...translator.Event)
	// Leader returns the leader's base URL, empty if this replica leads or no leader is known.
	Leader func(context.Context) (string, error)
	// Client trusts the control plane's CA; Token authenticates this replica.
	Client *http.Client
	Token  func() (string, error)
	// Admit returns an error unless a bearer token belongs to another replica.
	Admit func(ctx context.Context, token string) error
	Log   logr.Logger
}

// Replicas reports the acknowledgements of proxies to the tables: those of this replica's proxies and, on the leader,
// those of all replicas. Only the leader writes status, and proxies connect to any replica.
//
// Several replicas may know the same proxy: after a proxy has moved, its former replica knows it until it notices that
// the stream is dead. The replica with the latest news decides, because a dead stream acknowledges nothing.
type Replicas struct {
	ReplicaOptions

	mu     sync.Mutex
	local  proxies
	remote map[string]*remoteReplica
	// news counts the reports of replicas without repetitions.
	news int
	wake chan struct{}
}

// proxies are the proxies of one replica, by nodeKey.
type proxies map[string]heldProxy

type heldProxy struct {
	translator.Proxy
	// news is when the replica reported this about the proxy.
	news int
}

type remoteReplica struct {
	seen    time.Time
	proxies proxies
}

// NewReplicas returns replicas without any proxy.
func NewReplicas(o ReplicaOptions) *Replicas {
	return &Replicas{
		ReplicaOptions: o,
		local:          proxies{}, remote: map[string]*remoteReplica{}, wake: make(chan struct{}, 1),
	}
}

func nodeKey(p translator.Proxy) string { return p.Fleet + "|" + p.Node }

// Report takes the state of a proxy of this replica.
func (r *Replicas) Report(p translator.Proxy, connected bool) {
	r.mu.Lock()
	if connected {
		r.hold(r.local, p)
	} else {
		r.release(r.local, nodeKey(p))
	}
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default: // A report is already due.
	}
}

// Start sends reports to the leader until the context ends.
func (r *Replicas) Start(ctx context.Context) error {
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			r.forgetSilent(time.Now())
		case <-r.wake:
			time.Sleep(collectFor)
		}
		if err := r.tell(ctx); err != nil && ctx.Err() == nil {
			r.Log.Info("the leader could not be told of the proxies, trying again", "error", err.Error())
		}
	}
}

// tell sends the state of all proxies of this replica, unless it leads itself.
func (r *Replicas) tell(ctx context.Context) error {
	leader, err := r.Leader(ctx)
	if err != nil || leader == "" {
		return err
	}
	report := replicaReport{Replica: r.Self}
	r.mu.Lock()
	for _, p := range r.local {
		report.Proxies = append(report.Proxies, p.Proxy)
	}
	r.mu.Unlock()
	body, err := json.Marshal(report)
	if err != nil {
		return fmt.Errorf("encode the report: %w", err)
	}
	token, err := r.Token()
	if err != nil {
		return fmt.Errorf("read this replica's token: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, beat)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, leader+ReplicasPath, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("address the leader: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := r.Client.Do(request)
	if err != nil {
		return fmt.Errorf("tell the leader: %w", err)
	}
	defer func() { _ = response.Body.Close() }() // The rest of the body is not needed.
	if response.StatusCode != http.StatusNoContent {
		words, _ := io.ReadAll(io.LimitReader(response.Body, 512)) // Only for the log.
		return fmt.Errorf("the leader answered %s: %s", response.Status, bytes.TrimSpace(words))
	}
	return nil
}

// ServeHTTP receives the report of another replica.
func (r *Replicas) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	token, err := bearer(request)
	if err == nil {
		err = r.Admit(withPeer(request), token)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnauthorized)
		return
	}
	var report replicaReport
	if err := json.NewDecoder(http.MaxBytesReader(w, request.Body, reportLimit)).Decode(&report); err != nil {
		http.Error(w, fmt.Sprintf("the report cannot be read: %v", err), http.StatusBadRequest)
		return
	}
	r.accept(report, time.Now())
	w.WriteHeader(http.StatusNoContent)
}

// withPeer returns the context of a request with its sender, in the form that gRPC calls have.
func withPeer(request *http.Request) context.Context {
	address, err := netip.ParseAddrPort(request.RemoteAddr)
	if err != nil {
		return request.Context()
	}
	return peer.NewContext(request.Context(), &peer.Peer{Addr: net.TCPAddrFromAddrPort(address)})
}

func bearer(request *http.Request) (string, error) {
	const scheme = "Bearer "
	header := request.Header.Get("Authorization")
	if len(header) <= len(scheme) || header[:len(scheme)] != scheme {
		return "", errors.New("no bearer token: send this replica's service-account token")
	}
	return header[len(scheme):], nil
}

// accept passes the changes of a report to the tables.
func (r *Replicas) accept(report replicaReport, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	replica := r.remote[report.Replica]
	if replica == nil {
		replica = &remoteReplica{proxies: proxies{}}
		r.remote[report.Replica] = replica
	}
	replica.seen = now
	reported := make(map[string]bool, len(report.Proxies))
	for _, p := range report.Proxies {
		reported[nodeKey(p)] = true
		r.hold(replica.proxies, p)
	}
	for key := range replica.proxies {
		if !reported[key] {
			r.release(replica.proxies, key)
		}
	}
}

// hold notes what a replica reports of a proxy that it has. The mutex must be held until the events are put, so that
// the tables get them in order.
func (r *Replicas) hold(replica proxies, p translator.Proxy) {
	if held, has := replica[nodeKey(p)]; has && reflect.DeepEqual(held.Proxy, p) {
		return
	}
	r.news++
	replica[nodeKey(p)] = heldProxy{p, r.news}
	r.Put(translator.Event{Proxy: &p})
}

// release removes a proxy from a replica. The mutex must be held.
func (r *Replicas) release(replica proxies, key string) {
	released := replica[key]
	delete(replica, key)
	latest := r.local[key]
	for _, other := range r.remote {
		if held := other.proxies[key]; held.news > latest.news {
			latest = held
		}
	}
	switch {
	case latest.news == 0: // No replica has it.
		r.Put(translator.Event{Proxy: &released.Proxy, Deleted: true})
	case latest.news < released.news:
		r.Put(translator.Event{Proxy: &latest.Proxy})
	}
}

func (r *Replicas) forgetSilent(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, replica := range r.remote {
		if now.Sub(replica.seen) > silence {
			for key := range replica.proxies {
				r.release(replica.proxies, key)
			}
			delete(r.remote, name)
		}
	}
}
