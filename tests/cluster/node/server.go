package node

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"gatehouse/tests/cluster/node/logs"
	"gatehouse/tests/cluster/node/remote"
	"gatehouse/tests/cluster/node/sandbox"
)

// kubeletPort is where the API server asks for logs.
const kubeletPort = 10250

// serve answers the API server until ctx ends.
func (a *agent) serve(ctx context.Context) error {
	certificate, err := selfSigned(a.gateway().AsSlice())
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) })
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", a.containerLogs)
	mux.HandleFunc("POST /exec/{namespace}/{pod}/{container}", a.exec)
	mux.HandleFunc("POST /portForward/{namespace}/{pod}", a.portForward)
	server := &http.Server{
		Addr:    net.JoinHostPort(a.gateway().String(), strconv.Itoa(kubeletPort)),
		Handler: mux, ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:    slog.NewLogLogger(a.Log.Handler(), slog.LevelDebug), // Clients that leave early are not worth a line.
		TLSConfig:   &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12},
		BaseContext: func(net.Listener) context.Context { return ctx }, // Ends logs that are followed.
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.ListenAndServeTLS("", ""); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve logs on %s: %w", server.Addr, err)
	}
	return nil
}

// containerLogs serves what kubectl logs asks for, by the kubelet's protocol.
func (a *agent) containerLogs(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	options, err := logOptions(query)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var log *logs.File
	p, err := a.findPod(r.PathValue("namespace"), r.PathValue("pod"))
	if err == nil {
		log, err = p.findLog(r.PathValue("container"), query.Get("previous") == "true")
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if err := log.Read(r.Context(), w, options); err != nil && r.Context().Err() == nil {
		a.Log.Warn("Serving a log failed", "log", log.Path(), "error", err)
	}
}

func logOptions(q url.Values) (logs.Options, error) {
	o := logs.Options{Tail: -1, Follow: q.Get("follow") == "true", Timestamps: q.Get("timestamps") == "true"}
	if s := q.Get("stream"); s == "Stdout" || s == "Stderr" {
		o.Stream = map[string]string{"Stdout": "stdout", "Stderr": "stderr"}[s]
	}
	var seconds int64
	for name, to := range map[string]*int64{"tailLines": &o.Tail, "limitBytes": &o.Limit, "sinceSeconds": &seconds} {
		text := q.Get(name)
		if text == "" {
			continue
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 0 {
			return o, fmt.Errorf("%s=%q is not a number of zero or more", name, text)
		}
		*to = n
	}
	if seconds > 0 {
		o.Since = time.Now().Add(-time.Duration(seconds) * time.Second)
	}
	if text := q.Get("sinceTime"); text != "" {
		var err error
		if o.Since, err = time.Parse(time.RFC3339, text); err != nil {
			return o, fmt.Errorf("sinceTime=%q is not an RFC 3339 time", text)
		}
	}
	return o, nil
}

// exec serves kubectl exec.
func (a *agent) exec(w http.ResponseWriter, r *http.Request) {
	var process *sandbox.Process
	p, err := a.findPod(r.PathValue("namespace"), r.PathValue("pod"))
	if err == nil {
		process, err = p.findProcess(r.PathValue("container"))
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	remote.Exec(w, r, process.Run)
}

func (p *pod) findProcess(name string) (*sandbox.Process, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range slices.Concat(p.init, p.main) {
		if c.spec.Name == name && c.process != nil {
			return c.process, nil
		}
	}
	return nil, fmt.Errorf("container %q does not run", name)
}

// portForward serves kubectl port-forward, which reaches ports on a pod's loopback address.
func (a *agent) portForward(w http.ResponseWriter, r *http.Request) {
	p, err := a.findPod(r.PathValue("namespace"), r.PathValue("pod"))
	if err == nil && p.current().Status.Phase != corev1.PodRunning {
		err = fmt.Errorf("pod %q does not run", p.name())
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	remote.PortForward(w, r, p.network.Dial)
}

func (a *agent) findPod(namespace, name string) (*pod, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range a.pods {
		if object := p.current(); object.Namespace == namespace && object.Name == name {
			return p, nil
		}
	}
	return nil, fmt.Errorf("pod %q does not exist", namespace+"/"+name)
}

func (p *pod) findLog(name string, previous bool) (*logs.File, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := slices.Concat(p.init, p.main)
	i := slices.IndexFunc(all, func(c *container) bool { return c.spec.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("container %q not found", name)
	}
	found := all[i].logs[0]
	if previous {
		found = all[i].logs[1]
	}
	if found == nil {
		return nil, fmt.Errorf("container %q has no such log", name)
	}
	return found, nil
}

// selfSigned makes a serving certificate for the address. The API server does not verify it.
func selfSigned(addr net.IP) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("generate serving key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: Name}, IPAddresses: []net.IP{addr},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(10, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make serving certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
