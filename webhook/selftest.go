package webhook

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"gatehouse/api/v1alpha1"
)

const (
	selfTestName  = "gatehouse-self-test"
	selfTestLimit = 5 * time.Second
)

// knownBad is a policy that can never work. Its namespace is judged at level enforce, regardless of the level of the
// installation.
const knownBad = `{"apiVersion":"gateway.envoyproxy.io/v1alpha1","kind":"SecurityPolicy",
"metadata":{"name":"gatehouse-self-test","namespace":"gatehouse-self-test"},
"spec":{"targetRefs":[{"group":"gateway.networking.k8s.io","kind":"Gateway","name":"gatehouse-self-test"}],
"authorization":{"rules":[{"action":"Allow","principal":{"clientCIDRs":["no range of addresses"]}}]}}}`

// selfTest sends a request as the API server would: to the same address, trusting the same CA. It returns an error
// unless the known-bad object is denied.
func (g *Gate) selfTest(ctx context.Context, at admissionregv1.WebhookClientConfig) error {
	ctx, cancel := context.WithTimeout(ctx, selfTestLimit)
	defer cancel()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(at.CABundle) {
		return errors.New("the webhook configuration has no CA bundle yet")
	}
	target, err := address(at)
	if err != nil {
		return err
	}
	body, err := json.Marshal(selfTestReview())
	if err != nil {
		return fmt.Errorf("encoding the self-test: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("addressing the self-test to %s: %w", target, err)
	}
	request.Header.Set("Content-Type", "application/json")
	// Each test makes its own connection: the certificate and the route to the Service are part of the test.
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12, GetClientCertificate: g.Certificate},
		ForceAttemptHTTP2: true, DisableKeepAlives: true, DialContext: g.Dial,
	}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return fmt.Errorf("the self-test does not reach the webhook: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	return judgeSelfTest(response)
}

// errBusy is the error of a self-test that a replica rejected because it was busy. It does not show whether objects are
// judged.
var errBusy = errors.New("the webhook is too busy for the self-test")

func judgeSelfTest(response *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(response.Body, maxRequest))
	if err != nil {
		return fmt.Errorf("reading the answer to the self-test: %w", err)
	}
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusTooManyRequests:
		return errBusy
	default:
		return fmt.Errorf("the self-test got status %d: %s", response.StatusCode, bytes.TrimSpace(body))
	}
	answer := &admissionv1.AdmissionReview{}
	if err := json.Unmarshal(body, answer); err != nil {
		return fmt.Errorf("the self-test got no AdmissionReview: %w", err)
	}
	if answer.Response == nil || answer.Response.UID != selfTestName || answer.Response.Allowed {
		return errors.New("the self-test's known-bad object was not denied")
	}
	return nil
}

func selfTestReview() *admissionv1.AdmissionReview {
	dryRun := true
	version := v1alpha1.GroupVersion
	return &admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: "AdmissionReview"},
		Request: &admissionv1.AdmissionRequest{
			UID: types.UID(selfTestName),
			Kind: metav1.GroupVersionKind{
				Group: version.Group, Version: version.Version,
				Kind: v1alpha1.KindSecurityPolicy,
			},
			Resource:  metav1.GroupVersionResource{Group: version.Group, Version: version.Version, Resource: "securitypolicies"},
			Namespace: selfTestName, Name: selfTestName,
			Operation: admissionv1.Create, DryRun: &dryRun,
			Object: runtime.RawExtension{Raw: []byte(knownBad)},
		},
	}
}

// address is the address at which the API server finds the webhook.
func address(at admissionregv1.WebhookClientConfig) (string, error) {
	if at.URL != nil {
		return *at.URL, nil
	}
	if at.Service == nil {
		return "", errors.New("the webhook configuration names neither a Service nor a url")
	}
	port := int32(443)
	if at.Service.Port != nil {
		port = *at.Service.Port
	}
	path := "/"
	if at.Service.Path != nil {
		path = cmp.Or(*at.Service.Path, "/")
	}
	host := net.JoinHostPort(at.Service.Name+"."+at.Service.Namespace+".svc", strconv.Itoa(int(port)))
	return (&url.URL{Scheme: "https", Host: host, Path: path}).String(), nil
}
