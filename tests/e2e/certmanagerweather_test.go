package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

var wholeCertManager = flag.Bool("cert-manager", false,
	"run the tests in which cert-manager or its ACME server is away, which take minutes")

// acmeFront is the variable of the environment that makes this program a server in front of the ACME server in a pod.
// Its value is a front in JSON.
const acmeFront = "GATEHOUSE_E2E_ACME_FRONT"

// front passes requests to the ACME server, or answers them itself as an ACME server in trouble does.
type front struct {
	Certificate, Key []byte // its own, in PEM
	Authority        []byte // of the certificate of the ACME server, in PEM

	mu      sync.Mutex
	trouble string
	met     int // requests since this trouble began
}

// troubles are the answers of a front in trouble, by the name of the trouble.
var troubles = map[string]func(w http.ResponseWriter){
	"limited": func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = io.WriteString(w, `{"type": "urn:ietf:params:acme:error:rateLimited", "detail": "too many orders", "status": 429}`)
	},
	"nonsense": func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<html>This is not the page that you are looking for.")
	},
}

// serveFront listens on port 8443 for cert-manager, and on port 8080 for the test: POST /NAME begins a trouble, or ends
// it if there is none of that name, and GET answers with how many requests have met it.
func serveFront(text string) error {
	var f front
	if err := json.Unmarshal([]byte(text), &f); err != nil {
		return err
	}
	pair, err := tls.X509KeyPair(f.Certificate, f.Key)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(f.Authority)
	server := &http.Server{
		Addr: ":8443", TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}},
		Handler: f.before(&httputil.ReverseProxy{
			Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}},
			Rewrite: func(r *httputil.ProxyRequest) {
				r.SetURL(&url.URL{Scheme: "https", Host: "pebble.acme.svc:14000"})
				r.Out.Host = r.In.Host // The ACME server answers with addresses of the host that it was asked by.
			},
		}),
	}
	failed := make(chan error, 2)
	go func() { failed <- server.ListenAndServeTLS("", "") }()
	go func() { failed <- http.ListenAndServe(":8080", http.HandlerFunc(f.manage)) }()
	return <-failed
}

// before answers in the place of the next handler while there is trouble.
func (f *front) before(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		answer := troubles[f.trouble]
		f.met++
		f.mu.Unlock()
		if answer == nil {
			next.ServeHTTP(w, r)
			return
		}
		answer(w)
	})
}

func (f *front) manage(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.Method == http.MethodPost {
		f.trouble, f.met = strings.TrimPrefix(r.URL.Path, "/"), 0
	}
	fmt.Fprint(w, f.met)
}

const frontPorts = `
        ports: [{name: acme, containerPort: 8443}, {name: management, containerPort: 8080}]
        readinessProbe: {tcpSocket: {port: acme}, periodSeconds: 1}
`

const frontObjects = `
apiVersion: v1
kind: Service
metadata: {name: front}
spec: {selector: {app: front}, ports: [{name: acme, port: 8443}, {name: management, port: 8080}]}
---
apiVersion: cert-manager.io/v1
kind: Issuer
metadata: {name: fronted}
spec:
  acme:
    server: https://front.%[1]s.svc:8443/dir
    caBundle: %[2]s
    privateKeySecretRef: {name: account}
    solvers: [{http01: {gatewayHTTPRoute: {}}}]
`

// whole skips what takes minutes unless it is asked for.
func whole(t *testing.T) {
	t.Helper()
	if !*wholeCertManager {
		t.Skip("takes minutes; make cert-manager runs it")
	}
	certManager(t)
}

// TestCertManagerACMEServerInTrouble: while the ACME server is away, limits the rate or answers nonsense, a certificate
// that is due for renewal goes on being served, no request fails, and the status of the listener says what cert-manager
// waits for. When the trouble is over, the certificate is renewed.
func TestCertManagerACMEServerInTrouble(t *testing.T) {
	whole(t)
	s := newScene(t, "acme-trouble")
	host, authority := s.host(), newAuthority(t, 1)
	f := front{Authority: []byte(caOfCluster(t))}
	f.Certificate, f.Key = authority.issue(t, 2, "front."+s.namespace+".svc")
	text, err := json.Marshal(&f)
	must(t, string(text), err)
	bundle := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.certificate.Raw})
	s.apply(t, fmt.Sprintf(echoServer, "a", 1), inPod(t, "front", acmeFront, string(text), frontPorts))
	s.kubectl(t, "rollout", "status", "deployment/front", "--timeout=60s")
	s.apply(t, fmt.Sprintf(frontObjects, s.namespace, base64.StdEncoding.EncodeToString(bundle)))
	s.becomes(t, "issuer/fronted", condition(".status", "Ready"), "True")
	s.applyIssued(t, fmt.Sprintf(issuedGateway,
		"cert-manager.io/issuer: fronted, cert-manager.io/renew-before: 59m40s", host)) // pebble's are valid for an hour.
	s.apply(t, route("r", host))
	at := address(t, s.namespace, "gw")
	s.resolves(t, "gw", host)
	issuedBy(t, at, host, caOfACME(t))

	manage := func(arguments ...string) string {
		t.Helper()
		out, err := inside(append([]string{"curl", "-sSf"}, arguments...)...)
		return must(t, out, err)
	}
	management := "http://front." + s.namespace + ".svc:8080/"
	load := shakeHands(t, at, host, caOfACME(t))
	load.renewed("the certificate is renewed in fair weather", 2*time.Minute)
	for _, trouble := range []string{"away", "limited", "nonsense"} {
		if trouble == "away" {
			s.scale(t, "front", 0)
		} else {
			manage("-d", "", management+trouble)
		}
		within(t, 2*time.Minute, "the certificate is due, and the ACME server in trouble is asked", func() error {
			due, err := kubectl("get", "-n", s.namespace, "certificate/served", "-o", "jsonpath="+condition(".status", "Issuing"))
			if err == nil && due != "True" {
				err = errors.New("it is not due")
			}
			if err == nil && trouble != "away" && manage(management) == "0" {
				err = errors.New("nobody asks the ACME server")
			}
			return err
		})
		before := load.seen()
		s.waitsFor(t, `cert-manager issues the next one from Certificate "served" by Issuer "fronted", and `) // Some attempts fail.
		if load.seen() != before {
			t.Errorf("%s: there is a new certificate all the same", trouble)
		}
		t.Logf("%s: %s", trouble, whatIsSaid(s))
		if trouble == "away" {
			s.scale(t, "front", 1)
		} else {
			manage("-d", "", management+"none")
		}
		load.renewed("the certificate is renewed after "+trouble, 5*time.Minute)
	}
	load.noneFailed()
}

// waitsFor waits until the status of the listener https says that the renewal of its certificate, which is valid for an
// hour, is late, and what it waits for. It says so a hundredth of that hour after the renewal is due, or within a minute
// after that.
func (s scene) waitsFor(t *testing.T, words string) {
	t.Helper()
	within(t, 3*time.Minute, "the status says what the renewal waits for", func() error {
		said, err := kubectl("get", "-n", s.namespace, "gateway/gw", "-o", fmt.Sprintf("go-template=%s",
			`{{range .status.listeners}}{{if eq .name "https"}}{{range .conditions}}{{if eq .type "CertificateCurrent"}}{{.reason}}: {{.message}}{{end}}{{end}}{{end}}{{end}}`))
		if err == nil && (!strings.HasPrefix(said, "RenewalOverdue: ") || !strings.Contains(said, words)) {
			err = fmt.Errorf("it says %q", said)
		}
		if err == nil {
			t.Log(said)
		}
		return err
	})
}

// whatIsSaid is what cert-manager says of its objects in the scene.
func whatIsSaid(s scene) string {
	out, _ := kubectl("get", "-n", s.namespace, "certificates,certificaterequests,orders.acme.cert-manager.io,challenges", "-o",
		`jsonpath={range .items[*]}{.kind}: {.status.state} {.status.reason} {.status.conditions[*].message}{"\n"}{end}`)
	return out // An error is in what kubectl printed.
}

// TestCertManagerIsAway: while the controller of cert-manager or its webhook is away, what is served stays served, by a
// control plane and an Envoy that start meanwhile too, and the status says that a renewal is late. A listener that is added
// then has no certificate and disturbs no other. When cert-manager is back, certificates that are due are renewed, and the new listener is served.
func TestCertManagerIsAway(t *testing.T) {
	whole(t)
	s := newScene(t, "away")
	host, ca := s.host(), caOfCluster(t)
	// due makes certificates due for renewal eight seconds after they are issued.
	const due = "cert-manager.io/cluster-issuer: ca, cert-manager.io/duration: 1h, cert-manager.io/renew-before: 59m52s"
	gateway := fmt.Sprintf(issuedGateway, due, "first."+host)
	s.applyIssued(t, gateway)
	s.apply(t, fmt.Sprintf(echoServer, "a", 1), route("r", "'*."+host+"'"))
	at := address(t, s.namespace, "gw")
	issuedBy(t, at, "first."+host, ca)
	manager := scene{"cert-manager"}
	for _, part := range []string{"cert-manager", "cert-manager-webhook"} {
		t.Cleanup(func() { manager.scale(t, part, 1) })
		load := shakeHands(t, at, "first."+host, ca)
		load.renewed("the certificate is renewed", time.Minute)
		manager.scale(t, part, 0)
		before := load.seen()
		late := "late-" + part
		gateway += fmt.Sprintf("  - {name: %s, protocol: HTTPS, port: 443, hostname: %[1]s.%s, tls: {certificateRefs: [{name: %[1]s}]}}\n",
			late, host)
		s.applyIssued(t, gateway)
		s.becomes(t, "gateway/gw", reason(`.status.listeners[?(@.name=="`+late+`")]`, "ResolvedRefs"), "InvalidCertificateRef")
		s.waitsFor(t, `cert-manager issues the next one from Certificate "served" by ClusterIssuer "ca", and `)
		if load.seen() > before+1 { // One may have been on its way.
			t.Errorf("without %s the certificate is renewed", part)
		}
		load.noneFailed()
		mustKubectl(t, "rollout", "restart", "deployment/gatehouse", "-n", "gatehouse-system")
		lives(t)
		newEnvoy(t, s)
		issuedBy(t, at, "first."+host, ca)
		load = shakeHands(t, at, "first."+host, ca)
		manager.scale(t, part, 1)
		load.renewed("the certificate is renewed", 2*time.Minute)
		issuedBy(t, at, late+"."+host, ca)
		load.noneFailed()
	}
}

// scale sets the number of replicas of a Deployment, and waits until they are ready, or until no pod is left.
func (s scene) scale(t *testing.T, deployment string, replicas int) {
	t.Helper()
	s.kubectl(t, "scale", "deployment/"+deployment, fmt.Sprintf("--replicas=%d", replicas))
	s.kubectl(t, "rollout", "status", "deployment/"+deployment, "--timeout=60s")
	if replicas > 0 {
		return
	}
	labels := s.kubectl(t, "get", "deployment", deployment, "-o",
		"go-template={{range $name, $value := .spec.selector.matchLabels}}{{$name}}={{$value}},{{end}}")
	eventually(t, "the pods of "+deployment+" are gone", func() error {
		pods, err := kubectl("get", "pods", "-n", s.namespace, "-o", "jsonpath={.items[*].metadata.name}", "-l",
			strings.TrimSuffix(labels, ","))
		if err == nil && pods != "" {
			err = errors.New("there is " + pods)
		}
		return err
	})
}
