package webhook

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"gatehouse/translator"
)

// TestOneTimeLimit: reading and judging have one time limit together.
func TestOneTimeLimit(t *testing.T) {
	const limit, delay = 30 * time.Second, time.Second
	left := make(chan time.Duration, 1)
	s := serve(t, Options{TimeLimit: limit, Trier: TrierFunc(func(ctx context.Context,
		_ client.Object,
	) ([]translator.Finding, error) {
		deadline, _ := ctx.Deadline()
		left <- time.Until(deadline)
		return nil, nil
	})})
	in := review(nil)
	in.Request = httpRoute()
	text, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	body, send := io.Pipe()
	go func() {
		_, _ = send.Write(text[:len(text)/2])
		time.Sleep(delay)
		_, _ = send.Write(text[len(text)/2:])
		_ = send.Close()
	}()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+s.address+ValidatePath, body)
	if err != nil {
		t.Fatal(err)
	}
	response, err := s.client.Do(request)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatal(response, err)
	}
	_ = response.Body.Close()
	if left := <-left; left > limit-delay/2 {
		t.Errorf("%s are left to judge after a body that took %s", left, delay)
	}
}
