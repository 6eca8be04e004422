package infra

import (
	"slices"
	"testing"

	"gatehouse/infra/bootstrap"
	"gatehouse/infra/shutdown"
	"gatehouse/translator"
)

// TestPodPorts: listeners cannot use the ports that each Envoy pod needs for itself.
func TestPodPorts(t *testing.T) {
	want := []int32{bootstrap.AdminPort, bootstrap.MetricsPort, shutdown.Port, bootstrap.ReadyPort}
	if got := slices.Sorted(slices.Values(translator.PodPorts)); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
		t.Errorf("listeners are kept from %v, and pods have %v", got, want)
	}
}
