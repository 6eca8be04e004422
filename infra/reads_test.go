package infra

import (
	"context"
	"fmt"
	"testing"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// counting is a client that counts the objects that it has read.
type counting struct {
	client.Client
	read int
}

func (c *counting) Get(ctx context.Context, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
	c.read++
	return c.Client.Get(ctx, key, o, options...)
}

func (c *counting) List(ctx context.Context, list client.ObjectList, options ...client.ListOption) error {
	err := c.Client.List(ctx, list, options...)
	c.read += meta.LenList(list)
	return err
}

// TestAccountsAreFoundAmongMany: finding the owner of a fleet's account reads no objects of other fleets.
func TestAccountsAreFoundAmongMany(t *testing.T) {
	f := newFixture(t)
	f.bring(t, "shop/web", requirement("web"))
	reads := func(others int) int {
		t.Helper()
		for i := range others {
			name := fmt.Sprintf("other-%d", i)
			f.bring(t, "shop/"+name, requirement(name))
		}
		c := &counting{Client: f.cached(t)}
		a := New(c, f.settings, logr.Discard())
		for i := range others {
			name := fmt.Sprintf("other-%d", i)
			a.Set("shop/"+name, requirement(name))
		}
		c.read = 0
		a.Set("shop/web", requirement("web"))
		a.Changed("shop/web")
		return c.read
	}
	if few, many := reads(1), reads(10); few == 0 || many != few {
		t.Errorf("%d objects are read among 2 fleets, %d among 11", few, many)
	}
}
