package controller

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"gatehouse/translator"
)

// ReplicasPath is where the leader takes what the other replicas' proxies have acknowledged.
const ReplicasPath = "/replicas/proxies"

const (
	// beat is how often a replica repeats itself; one that has been silent for four beats is forgotten, and its proxies with it.
	beat    = 5 * time.Second
	silence = 4 * beat
	// settle is how long a replica gathers reports of its proxies before it tells the leader.
	settle = 20 * time.Millisecond
	// reportLimit bounds a replica's report, in bytes.
	reportLimit = 64 << 20
)

// replicaReport is the body that a replica sends: all that its proxies have, each time, so that a lost one is made good by the next.
type replicaReport struct {
	Replica string
	Proxies []translator.Proxy
}

// ReplicaOptions are what Replicas need.
type ReplicaOptions struct {
	// Self is this replica's name; Put adds events to the translation.
	Self string
	Put  func(...translator.Event)
	// Leader answers with the leader's base URL, empty if this replica leads or none is known.
	Leader func(context.Context) (string, error)
	// Client trusts the control plane's CA; Token is this replica's proof of who it is.
	Client *http.Client
	Token  func() (string, error)
	// Admit tells whether a bearer token is another replica's.
	Admit func(ctx context.Context, token string) error
	Log   logr.Logger
}

// Replicas brings what proxies acknowledge to the tables, of this replica's proxies and, on the leader, of all replicas'. Only the
// leader writes status, and proxies connect to any replica.
type Replicas struct {
	ReplicaOptions

	mu     sync.Mutex
	local  map[string]translator.Proxy
	remote map[string]remoteReplica
	wake   chan struct{}
}

type remoteReplica struct {
	seen    time.Time
	proxies map[string]translator.Proxy
}

// NewReplicas returns replicas that know of no proxy yet.
func NewReplicas(o ReplicaOptions) *Replicas {
	return &Replicas{
		ReplicaOptions: o,
		local:          map[string]translator.Proxy{}, remote: map[string]remoteReplica{}, wake: make(chan struct{}, 1),
	}
}

func nodeKey(p translator.Proxy) string { return p.Fleet + "|" + p.Node }

// Report takes what a proxy of this replica has.
func (r *Replicas) Report(p translator.Proxy, connected bool) {
	r.mu.Lock()
	if connected {
		r.local[nodeKey(p)] = p
	} else {
		delete(r.local, nodeKey(p))
	}
	r.mu.Unlock()
	r.Put(translator.Event{Proxy: &p, Deleted: !connected})
	select {
	case r.wake <- struct{}{}:
	default: // A report is due already.
	}
}

// Start tells the leader until the context ends.
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
			time.Sleep(settle)
		}
		if err := r.tell(ctx); err != nil && ctx.Err() == nil {
			r.Log.Info("the leader could not be told of the proxies, trying again", "error", err.Error())
		}
	}
}

// tell sends all that this replica's proxies have, unless it leads itself.
func (r *Replicas) tell(ctx context.Context) error {
	leader, err := r.Leader(ctx)
	if err != nil || leader == "" {
		return err
	}
	report := replicaReport{Replica: r.Self}
	r.mu.Lock()
	for _, p := range r.local {
		report.Proxies = append(report.Proxies, p)
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
	defer func() { _ = response.Body.Close() }() // Nothing more is read of it.
	if response.StatusCode != http.StatusNoContent {
		words, _ := io.ReadAll(io.LimitReader(response.Body, 512)) // Words for the log only.
		return fmt.Errorf("the leader answered %s: %s", response.Status, bytes.TrimSpace(words))
	}
	return nil
}

// ServeHTTP takes another replica's report.
func (r *Replicas) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	token, err := bearer(request)
	if err == nil {
		err = r.Admit(request.Context(), token)
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

func bearer(request *http.Request) (string, error) {
	const scheme = "Bearer "
	header := request.Header.Get("Authorization")
	if len(header) <= len(scheme) || header[:len(scheme)] != scheme {
		return "", errors.New("no bearer token; send this replica's service-account token")
	}
	return header[len(scheme):], nil
}

// accept brings a report's changes to the tables.
func (r *Replicas) accept(report replicaReport, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := remoteReplica{seen: now, proxies: make(map[string]translator.Proxy, len(report.Proxies))}
	for _, p := range report.Proxies {
		next.proxies[nodeKey(p)] = p
		r.Put(translator.Event{Proxy: &p})
	}
	for key, p := range r.remote[report.Replica].proxies {
		if _, still := next.proxies[key]; !still {
			r.drop(p)
		}
	}
	r.remote[report.Replica] = next
}

// drop takes a remote proxy away, unless it has come to this replica meanwhile.
func (r *Replicas) drop(p translator.Proxy) {
	if _, here := r.local[nodeKey(p)]; !here {
		r.Put(translator.Event{Proxy: &p, Deleted: true})
	}
}

func (r *Replicas) forgetSilent(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, replica := range r.remote {
		if now.Sub(replica.seen) > silence {
			for _, p := range replica.proxies {
				r.drop(p)
			}
			delete(r.remote, name)
		}
	}
}
