package controller

import (
	"fmt"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/translator"
)

// TestKindsTakeTurns: the statuses of a few Gateways and sets do not wait behind those of many routes, nor the routes
// behind theirs.
func TestKindsTakeTurns(t *testing.T) {
	q := newStatusQueue()
	defer q.ShutDown()
	add := func(n int, make func(metav1.ObjectMeta) translator.Object) {
		for i := range n {
			q.Add(keyOf(make(metav1.ObjectMeta{Name: fmt.Sprint(i)})))
		}
	}
	add(1000, func(m metav1.ObjectMeta) translator.Object { return &gwapiv1.HTTPRoute{ObjectMeta: m} })
	add(3, func(m metav1.ObjectMeta) translator.Object { return &gwapiv1.Gateway{ObjectMeta: m} })
	add(1, func(m metav1.ObjectMeta) translator.Object { return &gwapiv1.ListenerSet{ObjectMeta: m} })
	var got []string
	for range 8 {
		key, _ := q.Get()
		got = append(got, key.kind.Elem().Name()+" "+key.name.Name)
	}
	want := []string{
		"HTTPRoute 0", "Gateway 0", "ListenerSet 0", "HTTPRoute 1", "Gateway 1", "HTTPRoute 2", "Gateway 2", "HTTPRoute 3",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := q.Len(); got != 996 {
		t.Errorf("%d keys are left, want 996", got)
	}
}
