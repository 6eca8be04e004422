package infra

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/config"
	"gatehouse/translator"
)

// TestRateLimitService: the service is made, repaired, and deleted when the configuration no longer asks for it. Objects of
// others stay as they are.
func TestRateLimitService(t *testing.T) {
	f := newFixture(t)
	settings := RateLimitSettings{
		Namespace: f.settings.ControllerNamespace, Image: "ratelimit:1", XDSHost: "gatehouse.test", XDSPort: 18000,
		Config: &config.RateLimit{Backend: config.RateLimitBackend{Redis: config.RateLimitRedis{URL: "redis:6379"}}}, Certificates: "a",
	}
	k := NewRateLimitKeeper(f.Client, func() RateLimitSettings { return settings }, logr.Discard())
	key := client.ObjectKey{Namespace: settings.Namespace, Name: translator.RateLimitService}
	foreign := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 1}}},
	}
	if err := f.Create(t.Context(), foreign); err != nil {
		t.Fatal(err)
	}
	if err := k.Reconcile(t.Context()); !errors.Is(err, errTaken) {
		t.Errorf("with a Service of somebody else: %v", err)
	}
	if err := f.Delete(t.Context(), foreign); err != nil {
		t.Fatal(err)
	}
	reconcile := func() *appsv1.Deployment {
		t.Helper()
		if err := k.Reconcile(t.Context()); err != nil {
			t.Fatal(err)
		}
		live := &appsv1.Deployment{}
		if err := f.Get(t.Context(), key, live); err != nil {
			t.Fatal(err)
		}
		return live
	}
	first := reconcile()
	if again := reconcile(); again.Generation != first.Generation {
		t.Errorf("generation %d became %d without a change", first.Generation, again.Generation)
	}
	settings.Certificates = "b"
	if next := reconcile(); next.Generation == first.Generation {
		t.Error("another certificate replaces no pod")
	}
	settings.Config = nil
	if err := k.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, o := range []client.Object{&appsv1.Deployment{}, &corev1.Service{}, &corev1.ServiceAccount{}} {
		if err := f.Get(t.Context(), key, o); !apierrors.IsNotFound(err) && o.GetDeletionTimestamp() == nil {
			t.Errorf("%T is still there: %v", o, err)
		}
	}
}

// TestRateLimitRedis: how the service finds and trusts its Redis.
func TestRateLimitRedis(t *testing.T) {
	redis := config.RateLimitRedis{
		URLRef: &config.RateLimitURLRef{SecretKeyRef: &corev1.SecretKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: "redis"}, Key: "url",
		}},
		TLS: &config.RateLimitRedisTLS{CertificateRef: &gwapiv1.SecretObjectReference{Name: "redis-client"}},
	}
	s := RateLimitSettings{Namespace: "gatehouse-system", Config: &config.RateLimit{Backend: config.RateLimitBackend{Redis: redis}}}
	pod := s.pods().Spec
	var got []string
	for _, e := range pod.Containers[0].Env {
		if strings.HasPrefix(e.Name, "REDIS_") && e.ValueFrom == nil {
			got = append(got, e.Name+"="+e.Value)
		} else if e.ValueFrom != nil {
			got = append(got, e.Name+" from "+e.ValueFrom.SecretKeyRef.Name+"/"+e.ValueFrom.SecretKeyRef.Key)
		}
	}
	want := []string{
		"REDIS_SOCKET_TYPE=tcp", "REDIS_TIMEOUT=1s", "REDIS_URL from redis/url", "REDIS_TLS=true",
		"REDIS_TLS_CLIENT_CERT=/etc/gatehouse/redis/tls.crt", "REDIS_TLS_CLIENT_KEY=/etc/gatehouse/redis/tls.key",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
	mounted := func(v corev1.Volume) bool { return v.Secret != nil && v.Secret.SecretName == "redis-client" }
	if !slices.ContainsFunc(pod.Volumes, mounted) {
		t.Errorf("the certificate for Redis is not mounted: %v", pod.Volumes)
	}
}
