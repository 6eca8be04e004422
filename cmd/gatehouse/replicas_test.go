package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"gatehouse/controller"
	"gatehouse/webhook"
)

// TestReplicasAreServedWithoutAWebhook: a replica tells the leader of its proxies whether or not there is admission.
func TestReplicasAreServedWithoutAWebhook(t *testing.T) {
	p := &plane{replicas: controller.NewReplicas(controller.ReplicaOptions{})}
	server, err := p.server(serveOptions{webhook: false}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{
		controller.ReplicasPath: http.StatusUnauthorized, // Without a token, that is.
		webhook.ValidatePath:    http.StatusNotFound,
		webhook.MutatePath:      http.StatusNotFound,
	} {
		answer := httptest.NewRecorder()
		server.WebhookMux().ServeHTTP(answer, httptest.NewRequest(http.MethodPost, path, nil))
		if answer.Code != want {
			t.Errorf("%s is answered with %d, want %d", path, answer.Code, want)
		}
	}
}

// leases reads one Lease.
type leases struct {
	client.Reader
	holder *string
	err    error
}

func (l leases) Get(_ context.Context, _ client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	o.(*coordinationv1.Lease).Spec.HolderIdentity = l.holder
	return l.err
}

func TestLeaderURL(t *testing.T) {
	away := errors.New("away")
	p := &plane{installation: installation{pod: "one", address: "10.0.0.1"}}
	for name, c := range map[string]struct {
		lease leases
		url   string
		err   error
	}{
		"another replica": {leases{holder: new("two_fd00::2")}, "https://[fd00::2]:9443", nil},
		"this replica":    {leases{holder: new("one_10.0.0.1")}, "", nil},
		"nobody":          {leases{holder: new("")}, "", nil},
		"nobody ever":     {leases{}, "", nil},
		"no lease":        {leases{err: apierrors.NewNotFound(schema.GroupResource{Resource: "leases"}, leaseName)}, "", nil},
		"no answer":       {leases{err: away}, "", away},
	} {
		t.Run(name, func(t *testing.T) {
			if url, err := p.leaderURL(t.Context(), c.lease); url != c.url || !errors.Is(err, c.err) {
				t.Errorf("the leader is at %q, %v, want %q, %v", url, err, c.url, c.err)
			}
		})
	}
}
