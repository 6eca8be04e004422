package e2e

import (
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var rotations = flag.Int("rotations", 1, "how often the certificate of the control plane and its CA are renewed by cert-manager")

// plane is the namespace of the control plane.
var plane = scene{"gatehouse-system"}

// The file is the last one, because the test replaces the Secret that others look at.

// TestCertManagerIssuesForTheControlPlane: the certificate for xDS and the webhook moves from the own CA to cert-manager,
// is renewed there together with its CA, and moves back. Meanwhile no request fails, good objects are admitted, a broken one
// is refused, no Envoy loses its connection but to a replica that ends, and then for no longer than its back-off. When
// the control plane was away and everything that Envoys trust is gone, they connect as well.
func TestCertManagerIssuesForTheControlPlane(t *testing.T) {
	certManager(t)
	s := newScene(t, "plane")
	s.apply(t, fmt.Sprintf(echoServer, "a", 1), plainGateway, route("r", s.host()))
	at := address(t, s.namespace, "gw")
	settles(t, at, "GET "+s.host()+"/", http.StatusOK)
	before := filepath.Join(t.TempDir(), "values.yaml")
	values, err := helm("get", "values", "gatehouse", "--namespace=gatehouse-system", "--output=yaml")
	must(t, values, err)
	must(t, before, os.WriteFile(before, []byte(values), 0o600))
	t.Cleanup(func() { // Charts of other versions know nothing of the values that are set here.
		out, err := helm("upgrade", "gatehouse", filepath.Join(root, "manifests/gatehouse"), "--namespace=gatehouse-system",
			"--reset-values", "--values="+before, "--wait", "--timeout=120s", "--force-conflicts")
		must(t, out, err)
		lives(t)
	})

	certifyPlane(t, 2, "certManager.enabled=false") // Two replicas, so that one can end.
	ends := []func(){admits(t, s), loads(t, at, s.host())}
	certifyPlane(t, 2, "certManager.enabled=true")
	plane.handsOver(t, only)
	connection := s.watchesConnection(t)
	for i := range *rotations {
		plane.renews(t, "gatehouse-ca")
		plane.renews(t, "gatehouse")
		plane.handsOver(t, only)
		plane.losesAReplica(t)
		host := fmt.Sprintf("after%d.%s", i, s.host())
		s.apply(t, route(fmt.Sprintf("after%d", i%3), host))
		settles(t, at, "GET "+host+"/", http.StatusOK)
	}
	reconnectsInTime(t, connection, *rotations)
	certifyPlane(t, 2, "certManager.enabled=false")
	plane.becomesOwn(t)
	certifyPlane(t, 2, "certManager.enabled=true,certManager.caInjection=cainjector")
	plane.handsOver(t, also)
	for _, end := range ends {
		end()
	}

	plane.scale(t, "gatehouse", 0)
	plane.kubectl(t, "delete", "secret", "gatehouse")
	plane.renews(t, "gatehouse-ca")
	plane.renews(t, "gatehouse")
	plane.scale(t, "gatehouse", 2)
	s.apply(t, route("recovered", "recovered."+s.host()))
	within(t, time.Minute, "the Envoy is told of a new route", func() error {
		status, _, err := get(http.DefaultClient, at+":80", "recovered."+s.host(), "/")
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("answered %d", status)
		}
		return err
	})
}

// certifyPlane sets values of the chart, as a user does.
func certifyPlane(t *testing.T, replicas int, values string) {
	t.Helper()
	out, err := helm("upgrade", "gatehouse", filepath.Join(root, "manifests/gatehouse"), "--namespace=gatehouse-system",
		"--reset-then-reuse-values", "--wait", "--timeout=120s", "--force-conflicts", // Other tests scale it by kubectl.
		fmt.Sprintf("--set=deployment.replicas=%d,certManager.overlap=5s,%s", replicas, values))
	must(t, out, err)
	lives(t)
}

// secretData is a key of a Secret, decoded.
func (s scene) secretData(secret, key string) (string, error) {
	encoded, err := kubectl("get", "-n", s.namespace, "secret", secret, "-o",
		fmt.Sprintf("go-template={{or (index .data %q) %q}}", key, ""))
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, encoded)
	}
	text, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
	return string(text), err
}

// only and also compare the bundle of a webhook with the CAs in the Secret. cainjector leaves what it wrote before until it
// expires.
var (
	only = func(bundle, cas string) bool { return bundle == cas }
	also = strings.Contains
)

// handsOver waits until the control plane serves the certificate of cert-manager, and nothing but its CA is trusted. The API
// server trusts it too.
func (s scene) handsOver(t *testing.T, trusts func(bundle, cas string) bool) {
	t.Helper()
	within(t, time.Minute, "the certificate of cert-manager is served", func() error {
		for _, key := range []string{"tls.crt", "ca.crt"} {
			theirs, err := s.secretData("gatehouse-cert-manager", key)
			if err != nil {
				return err
			}
			if ours, err := s.secretData("gatehouse", key); err != nil || ours != theirs {
				return errors.Join(err, errors.New(key+" is another one"))
			}
		}
		if key, err := s.secretData("gatehouse", "ca.key"); err != nil || key != "" {
			return errors.Join(err, errors.New("the key of the own CA is there"))
		}
		return s.trusted(trusts)
	})
}

// trusted returns an error unless the API server trusts what the Secret says.
func (s scene) trusted(trusts func(bundle, cas string) bool) error {
	want, err := s.secretData("gatehouse", "ca.crt")
	if err != nil {
		return err
	}
	for _, kind := range []string{"validating", "mutating"} {
		bundles, err := kubectl("get", kind+"webhookconfiguration", "gatehouse", "-o", "jsonpath={.webhooks[*].clientConfig.caBundle}")
		if err != nil {
			return err
		}
		for _, bundle := range strings.Fields(bundles) {
			if text, err := base64.StdEncoding.DecodeString(bundle); err != nil || !trusts(string(text), want) {
				return errors.Join(err, fmt.Errorf("a %s webhook has another CA", kind))
			}
		}
	}
	return nil
}

// becomesOwn waits until the control plane has a CA of its own, and no other is trusted.
func (s scene) becomesOwn(t *testing.T) {
	t.Helper()
	within(t, time.Minute, "the own CA serves", func() error {
		key, err := s.secretData("gatehouse", "ca.key")
		if err != nil || key == "" {
			return errors.Join(err, errors.New("there is no own CA"))
		}
		from, err := kubectl("get", "-n", s.namespace, "secret", "gatehouse", "-o",
			`jsonpath={.metadata.annotations.gatehouse\.dev/certificate-from}`)
		if err == nil && from != "" {
			err = errors.New("it is still on its way from " + from)
		}
		return errors.Join(err, s.trusted(only))
	})
}

// renews lets cert-manager issue a certificate again, as its command does.
func (s scene) renews(t *testing.T, certificate string) {
	t.Helper()
	secret := strings.TrimSpace(s.kubectl(t, "get", "certificate", certificate, "-o", "jsonpath={.spec.secretName}"))
	before, err := s.secretData(secret, "tls.crt")
	must(t, before, err)
	within(t, 10*time.Second, "cert-manager is told to renew "+certificate, func() error {
		out, err := kubectl("patch", "-n", s.namespace, "certificate", certificate, "--subresource=status", "--type=json", "-p",
			`[{"op": "add", "path": "/status/conditions/-", "value": {"type": "Issuing", "status": "True", "reason": "ManuallyTriggered", "message": "a test asks"}}]`)
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		return err
	})
	within(t, 30*time.Second, "cert-manager renews "+certificate, func() error {
		now, err := s.secretData(secret, "tls.crt")
		if err == nil && now == before {
			err = errors.New("it is still the one of before")
		}
		return err
	})
}

// losesAReplica deletes the oldest replica of the control plane, which is the one that Envoys connected to when the one before
// it was deleted.
func (s scene) losesAReplica(t *testing.T) {
	t.Helper()
	pods := strings.Fields(s.kubectl(t, "get", "pods", "-l", controlPlane, "--sort-by=.metadata.creationTimestamp",
		"-o", "jsonpath={.items[*].metadata.name}"))
	s.kubectl(t, "delete", "pod", pods[0])
	s.kubectl(t, "rollout", "status", "deployment/gatehouse", "--timeout=60s")
}
