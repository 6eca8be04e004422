package kubetest

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Indexed is a client without a cache that supports indexes like a cache. An API server can select by few fields only.
type Indexed struct {
	client.Client
	fields map[string]map[reflect.Type]client.IndexerFunc
}

// Indexed is Client with those indexes.
func (s *Server) Indexed(t *testing.T, index func(context.Context, client.FieldIndexer) error) *Indexed {
	t.Helper()
	c := &Indexed{Client: s.Client(t), fields: map[string]map[reflect.Type]client.IndexerFunc{}}
	if err := index(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return c
}

// IndexField adds an index.
func (c *Indexed) IndexField(_ context.Context, kind client.Object, field string, values client.IndexerFunc) error {
	if c.fields[field] == nil {
		c.fields[field] = map[reflect.Type]client.IndexerFunc{}
	}
	c.fields[field][reflect.TypeOf(kind)] = values
	return nil
}

// List lists objects, with an index if the options select by an indexed field. It supports one such field.
func (c *Indexed) List(ctx context.Context, list client.ObjectList, options ...client.ListOption) error {
	asked := (&client.ListOptions{}).ApplyOptions(options)
	if asked.FieldSelector == nil || asked.FieldSelector.Empty() {
		return c.Client.List(ctx, list, options...)
	}
	field := asked.FieldSelector.Requirements()[0]
	if c.fields[field.Field] == nil {
		return c.Client.List(ctx, list, options...)
	}
	asked.FieldSelector = nil
	if err := c.Client.List(ctx, list, asked); err != nil {
		return fmt.Errorf("list what an index is to find: %w", err)
	}
	items, err := meta.ExtractList(list)
	if err != nil {
		return fmt.Errorf("read %T: %w", list, err)
	}
	found := slices.DeleteFunc(items, func(item runtime.Object) bool {
		o, ok := item.(client.Object)
		values := c.fields[field.Field][reflect.TypeOf(item)]
		return !ok || values == nil || !slices.Contains(values(o), field.Value)
	})
	if err := meta.SetList(list, found); err != nil {
		return fmt.Errorf("fill %T: %w", list, err)
	}
	return nil
}
