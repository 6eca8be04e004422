package kube

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/translator"
)

// TestFieldsOfOlderCRDs: which fields the CRD of Gateways does not have is known when Watch returns, and told again
// when another CRD takes its place.
func TestFieldsOfOlderCRDs(t *testing.T) {
	own := startOwn(t, nil)
	own.install(t, "gateway-api-crds-1.6.yaml")
	s := own.watch(t)
	if diff := cmp.Diff(translator.Fields, s.dropped()); diff != "" {
		t.Errorf("fields that are dropped with the CRDs of v1.6 (-want +got):\n%s", diff)
	}
	for _, next := range []struct {
		file string
		want []translator.Field
	}{{"gateway-api-crds.yaml", nil}, {"gateway-api-crds-standard.yaml", translator.Fields}} {
		own.install(t, next.file)
		for end := time.Now().Add(time.Minute); !slices.Equal(next.want, s.dropped()); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("with %s the fields %q are dropped, want %q", next.file, s.dropped(), next.want)
			}
		}
	}
}

// dropped are the fields that are dropped, by the newest event of each.
func (s *seen) dropped() (fields []translator.Field) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, field := range translator.Fields {
		for _, e := range slices.Backward(s.events) {
			if e.Dropped != nil && *e.Dropped == field {
				if !e.Deleted {
					fields = append(fields, field)
				}
				break
			}
		}
	}
	return fields
}
