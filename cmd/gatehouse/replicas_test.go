package main

import (
	"net/http"
	"net/http/httptest"
	"testing"

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
