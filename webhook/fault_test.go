package webhook

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	admissionregv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"gatehouse/translator"
)

// until calls try until it returns no error.
func until(t *testing.T, what string, try func() error) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: %v", what, err)
		}
	}
}

// failOpen sets the failurePolicy of the webhooks to Ignore.
func (c *cluster) failOpen(t *testing.T) {
	t.Helper()
	c.reconfigure(t, func(_ *admissionregv1.WebhookClientConfig, policy *admissionregv1.FailurePolicyType) {
		*policy = admissionregv1.Ignore
	})
}

// reconfigure changes all webhooks that register has made.
func (c *cluster) reconfigure(t *testing.T, change func(*admissionregv1.WebhookClientConfig, *admissionregv1.FailurePolicyType)) {
	t.Helper()
	validating, mutating := &admissionregv1.ValidatingWebhookConfiguration{}, &admissionregv1.MutatingWebhookConfiguration{}
	for _, o := range []client.Object{validating, mutating} {
		if err := c.client.Get(t.Context(), client.ObjectKey{Name: "under-test"}, o); err != nil {
			t.Fatal(err)
		}
	}
	for i := range validating.Webhooks {
		change(&validating.Webhooks[i].ClientConfig, validating.Webhooks[i].FailurePolicy)
	}
	for i := range mutating.Webhooks {
		change(&mutating.Webhooks[i].ClientConfig, mutating.Webhooks[i].FailurePolicy)
	}
	for _, o := range []client.Object{validating, mutating} {
		if err := c.client.Update(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFaults: whatever is wrong with the webhook, the failurePolicy decides: with Fail the user is told what is wrong, and
// with Ignore objects are stored. The self-test of the leader, which sets the failurePolicy, fails for the same reason.
func TestFaults(t *testing.T) {
	c := realCluster(t)
	slow := TrierFunc(func(ctx context.Context, _ client.Object) ([]translator.Finding, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	_, otherCA := issue(t, time.Now().Add(time.Hour))
	for name, fault := range map[string]struct {
		happens func(t *testing.T, s *served, o Options)
		says    string
		test    string
	}{
		"killed": {
			func(t *testing.T, s *served, _ Options) { _ = s.stop() },
			"connection refused", "connection refused",
		},
		"slow": {
			func(t *testing.T, s *served, _ Options) {
				restarted(t, s, Options{Trier: slow, TimeLimit: time.Second}, time.Hour)
			},
			"this HTTPRoute cannot be judged by Gatehouse now: no answer within 1s: try again", "status 500",
		},
		"expired certificate": {
			func(t *testing.T, s *served, o Options) { restarted(t, s, o, -time.Minute) },
			"certificate has expired", "certificate has expired",
		},
		"wrong CA bundle": {
			func(t *testing.T, s *served, _ Options) {
				s.ca = otherCA
				c.reconfigure(t, func(at *admissionregv1.WebhookClientConfig, _ *admissionregv1.FailurePolicyType) {
					at.CABundle = otherCA
				})
			},
			"certificate signed by unknown authority", "certificate signed by unknown authority",
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := Options{Trier: newWorld(t, []byte(tables))}
			s := serve(t, o)
			c.register(t, s, admissionregv1.Fail)
			fault.happens(t, s, o)
			store := func() error { return c.client.Create(t.Context(), routeOf(t, "any", "/", "gone"), client.DryRunAll) }
			until(t, "the user is told", func() error {
				if err := store(); err == nil || !strings.Contains(err.Error(), fault.says) {
					return fmt.Errorf("got %w, want %q", err, fault.says)
				}
				return nil
			})
			url := "https://" + s.address + ValidatePath
			err := (&Gate{}).selfTest(t.Context(), admissionregv1.WebhookClientConfig{URL: &url, CABundle: s.ca})
			if err == nil || errors.Is(err, errBusy) || !strings.Contains(err.Error(), fault.test) {
				t.Errorf("the self-test: %v, want %q", err, fault.test)
			}
			c.failOpen(t)
			until(t, "objects are stored", store)
		})
	}
}

// restarted ends a server and begins another one at the same address, whose certificate is valid for that long.
func restarted(t *testing.T, s *served, o Options, valid time.Duration) {
	t.Helper()
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	certificate, ca := issue(t, time.Now().Add(valid))
	c := realCluster(t)
	s.ca = ca
	serveAt(t, o, s.port(t), certificate, ca)
	c.reconfigure(t, func(at *admissionregv1.WebhookClientConfig, _ *admissionregv1.FailurePolicyType) { at.CABundle = ca })
}

// TestReplicasThatDiffer: a replica that has not seen everything yet denies nothing that another admits, and does not warn
// of what is stored. What can never work on a Gateway that it knows, it denies too.
func TestReplicasThatDiffer(t *testing.T) {
	all := tables + "---\napiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: default}\nspec: {ports: [{port: 3000}]}\n"
	there := existsIn(decode(t, []byte(all)))
	for name, known := range map[string]string{"all": all, "no Service": tables, "nothing": ""} {
		s := serve(t, Options{Trier: newWorld(t, []byte(known)), Exists: there})
		for path, denied := range map[string]bool{"/": false, "(": known != ""} {
			in := httpRoute()
			text, err := routeOf(t, "r", path, "web").MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			in.Object.Raw = text
			if got := s.post(t, ValidatePath, in); got.Allowed == denied || len(got.Warnings) > 0 {
				t.Errorf("path %q, known is %s: %s", path, name, told(got))
			}
		}
	}
}

// TestAPIServerRestarts: an API server that was killed asks the webhook again as soon as it is back.
func TestAPIServerRestarts(t *testing.T) {
	c := ownCluster(t)
	s := serve(t, Options{Trier: newWorld(t, []byte(tables))})
	c.register(t, s, admissionregv1.Fail)
	before := c.processes[1]
	_ = before.Process.Kill()
	_ = before.Wait()
	again := exec.Command(before.Path, before.Args[1:]...)
	again.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := again.Start(); err != nil {
		t.Fatal(err)
	}
	c.processes[1] = again
	until(t, "a broken route is denied", func() error {
		err := c.client.Create(t.Context(), routeOf(t, "broken", "(", "gone"))
		if err == nil {
			t.Fatal("a broken route was stored")
		}
		if !apierrors.IsInvalid(err) {
			return err
		}
		return nil
	})
	if err := c.client.Create(t.Context(), routeOf(t, "fine", "/", "gone")); err != nil {
		t.Error(err)
	}
}

// TestEtcdIsFull: while etcd takes nothing more, what can never work is still denied in the words of Gatehouse, and what
// could be stored is refused by etcd. Deletions pass the webhook.
func TestEtcdIsFull(t *testing.T) {
	c := ownCluster(t, "--quota-backend-bytes=25165824")
	s := serve(t, Options{Trier: newWorld(t, []byte(tables))})
	c.register(t, s, admissionregv1.Fail)
	fine := routeOf(t, "fine", "/", "gone")
	if err := c.client.Create(t.Context(), fine); err != nil {
		t.Fatal(err)
	}
	const full = "database space exceeded"
	filled := errors.New("not full")
	for i := 0; i < 64 && !strings.Contains(fmt.Sprint(filled), full); i++ {
		filled = c.client.Create(t.Context(), &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("c", i), Namespace: "default"},
			Data:       map[string]string{"a": strings.Repeat("a", 1<<20-1000)},
		})
	}
	if !strings.Contains(fmt.Sprint(filled), full) {
		t.Fatalf("etcd is not full: %v", filled)
	}
	if err := c.client.Create(t.Context(), routeOf(t, "broken", "(", "gone")); !apierrors.IsInvalid(err) {
		t.Errorf("a broken route: %v", err)
	}
	if err := c.client.Create(t.Context(), routeOf(t, "second", "/", "gone")); err == nil || !strings.Contains(err.Error(), full) {
		t.Errorf("a route: %v", err)
	}
	if err := c.client.Delete(t.Context(), fine); err != nil && !strings.Contains(err.Error(), full) {
		t.Errorf("a deletion: %v", err)
	}
}
