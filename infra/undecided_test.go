package infra

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// faulty is a client whose lists fail for a while.
type faulty struct {
	client.Client
	fails atomic.Bool
}

func (c *faulty) List(ctx context.Context, list client.ObjectList, options ...client.ListOption) error {
	if c.fails.Load() {
		return errors.New("the cache does not answer")
	}
	return c.Client.List(ctx, list, options...)
}

// TestAccountIsKeptWhileNobodyCanTell: while the owner of an account cannot be determined, it belongs to the fleet that
// had it. The owner is determined later, even if nothing changes.
func TestAccountIsKeptWhileNobodyCanTell(t *testing.T) {
	f := newFixture(t)
	account, key := f.shared(t)
	c := &faulty{Client: f.Client}
	f.Keeper = New(c, f.settings, logr.Discard())
	var mu sync.Mutex
	told := map[string][][]string{}
	f.Proven = func(fleet string, accounts ...string) {
		mu.Lock()
		defer mu.Unlock()
		told[fleet] = append(told[fleet], accounts)
	}
	f.bring(t, "shop/web", wanting("shop", "web", account, "name", 0))
	f.Set("evil/gw", wanting("evil", "gw", account, "name", 0))
	c.fails.Store(true)
	f.Changed("shop/web")
	f.Changed("evil/gw")
	f.Set("shop/web", wanting("shop", "web", account, "name", 0))
	mu.Lock()
	for _, accounts := range told["shop/web"] {
		if !slices.Equal(accounts, []string{key}) {
			t.Errorf("the fleet has proven itself by %q", accounts)
		}
	}
	mu.Unlock()

	c.fails.Store(false)
	f.bring(t, "shop/web", nil)
	c.fails.Store(true)
	f.Changed("shop/web")
	c.fails.Store(false)
	f.eventually(t, func() string {
		mu.Lock()
		defer mu.Unlock()
		last := told["evil/gw"][len(told["evil/gw"])-1]
		return cmp.Diff([]string{key}, last)
	})
}
