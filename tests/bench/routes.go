package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// creators is how many clients create and delete at a time.
const creators = 4

// each calls do for 0 to n-1, by several clients at a time. It ends at the first error.
func each(n int, do func(i int) error) error { return eachBy(creators, n, do) }

func eachBy(clients, n int, do func(i int) error) error {
	var next atomic.Int64
	var group sync.WaitGroup
	failed := make(chan error, clients)
	for range clients {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := do(i); err != nil {
					failed <- err
					next.Store(int64(n))
				}
			}
		})
	}
	group.Wait()
	close(failed)
	return <-failed
}

func (b *bench) services() int { return max(b.inside/10, 1) }

// fill creates the Services and then the routes, and answers with how long the routes took. Some routes are asked from
// before they exist: more of those that are the first of their Service.
func (b *bench) fill(ctx context.Context) (time.Duration, []*watch, error) {
	progress("creating %d Services", b.services())
	err := each(b.services(), func(i int) error {
		for _, o := range service(fmt.Sprintf("s%d", i), 80, "", b.back.web[i%len(b.back.web)]) {
			if err := b.client.Create(ctx, o); err != nil {
				return fmt.Errorf("create %T %s: %w", o, o.GetName(), err)
			}
		}
		return nil
	})
	if err != nil {
		return 0, nil, err
	}
	progress("creating %d routes", b.inside)
	var lock sync.Mutex
	var watched []*watch
	turns := make(chan struct{}, watchers)
	start := time.Now()
	err = each(b.inside, func(i int) error {
		if i%50 == 0 || i%10 == 0 && i < b.services() {
			select {
			case turns <- struct{}{}:
				w := b.watch(fmt.Sprintf("r%d.example.com", i), 10*time.Millisecond, func() { <-turns })
				lock.Lock()
				watched = append(watched, w)
				lock.Unlock()
			default: // Enough are asked already.
			}
		}
		return b.client.Create(ctx, route(fmt.Sprintf("r%d", i), fmt.Sprintf("s%d", i%b.services()), "/"))
	})
	return time.Since(start), watched, err
}

// creating measures what it takes to bring all routes up.
func (b *bench) creating(ctx context.Context, prefix string) error {
	before, err := b.controlPlane(ctx)
	if err != nil {
		return err
	}
	took, watched, err := b.fill(ctx)
	if err != nil {
		return fmt.Errorf("create the routes: %w", err)
	}
	last := time.Now()
	if _, err := b.until(fmt.Sprintf("r%d.example.com", b.inside-1), ""); err != nil {
		return err
	}
	serves := time.Since(last)
	if err := b.attached(ctx, b.inside+1); err != nil {
		return err
	}
	counted := time.Since(last)
	time.Sleep(2 * time.Second) // Whatever is still being written is part of the cost.
	after, err := b.controlPlane(ctx)
	if err != nil {
		return err
	}
	say(prefix+"creating all, by 4 clients", "%s", round(took))
	say(prefix+"last one serves / attachedRoutes right, after the last creation", "%s / %s", round(serves), round(counted))
	if err := sayOdd(prefix, watched); err != nil {
		return err
	}
	say(prefix+"status writes on the Gateway / on routes", "%.0f / %.0f", after.writes["Gateway"]-before.writes["Gateway"],
		after.writes["HTTPRoute"]-before.writes["HTTPRoute"])
	say(prefix+"control plane: CPU for creating / RSS after", "%.1f s / %d MiB", after.cpu-before.cpu, after.rss>>20)
	if prefix == "" {
		envoy, err := b.envoyRSS()
		if err != nil {
			return err
		}
		say("Envoy: RSS after", "%d MiB", envoy>>20)
		say("allocations of the control plane per route created", "%.0f", (after.mallocs-before.mallocs)/float64(b.inside))
	}
	return nil
}

// attached waits until the Gateway counts its routes right.
func (b *bench) attached(ctx context.Context, want int) error {
	return wait(ctx, 2*time.Minute, func() error {
		gw := &gwapiv1.Gateway{}
		if err := b.client.Get(ctx, client.ObjectKey{Namespace: "default", Name: "eg"}, gw); err != nil {
			return err
		}
		if len(gw.Status.Listeners) != 1 || int(gw.Status.Listeners[0].AttachedRoutes) != want {
			return fmt.Errorf("attachedRoutes is not %d: %v", want, gw.Status.Listeners)
		}
		return nil
	})
}

// oneMore is latencies on a Gateway that is filled first.
func (b *bench) oneMore(ctx context.Context, prefix string) error {
	_, watched, err := b.fill(ctx)
	if err != nil {
		return fmt.Errorf("create the routes: %w", err)
	}
	if _, err := b.until(fmt.Sprintf("r%d.example.com", b.inside-1), ""); err != nil {
		return err
	}
	if err := sayOdd(prefix, watched); err != nil {
		return err
	}
	envoy, err := b.envoyRSS()
	if err != nil {
		return err
	}
	say(prefix+"Envoy: RSS after", "%d MiB", envoy>>20)
	return b.latencies(ctx, prefix)
}

// latencies measures one more route, and one that is refused.
func (b *bench) latencies(ctx context.Context, prefix string) error {
	progress("one more route, %d times", b.tries)
	time.Sleep(3 * time.Second) // Statuses are still being written.
	var accepted, first, refused times
	others := map[int]int{}
	for i := range b.tries {
		start := time.Now()
		if err := b.client.Create(ctx, route(fmt.Sprintf("one-more-%d", i), "s0", "/")); err != nil {
			return fmt.Errorf("create one more route: %w", err)
		}
		stored := time.Now()
		seen, err := b.until(fmt.Sprintf("one-more-%d.example.com", i), "")
		if err != nil {
			return err
		}
		accepted, first = append(accepted, stored.Sub(start)), append(first, time.Since(stored))
		for code, n := range seen {
			others[code] += n
		}
		start = time.Now()
		if err := b.client.Create(ctx, route(fmt.Sprintf("bad-%d", i), "s0", "/(")); err == nil {
			return errors.New("a route with a bad regular expression was stored")
		}
		refused = append(refused, time.Since(start))
	}
	b.oneMoreRoute = first
	say(prefix+"one more route: create to first 200, p50 / p90", "%s", first)
	if prefix == "" {
		say("create that is accepted: answer, p50 / p90", "%s", accepted)
		say("create that is refused: answer, p50 / p90", "%s", refused)
	}
	delete(others, 404)
	return b.newServices(ctx, prefix, others)
}

// newServices measures one more route that brings a Service of its own, which Envoy needs a new cluster for. The route
// is asked from before anything of it exists; others are the answers that other new routes have given.
func (b *bench) newServices(ctx context.Context, prefix string, others map[int]int) error {
	progress("one more route with a new Service, %d times", b.tries)
	var first times
	odd := map[int]int{}
	for i := range b.tries {
		name := fmt.Sprintf("new-%d", i)
		w := b.watch(name+".example.com", time.Millisecond, func() {})
		for _, o := range append(service(name, 80, "", b.back.web[i%len(b.back.web)]),
			client.Object(route(name, name, "/"))) {
			if err := b.client.Create(ctx, o); err != nil {
				return fmt.Errorf("create %T %s: %w", o, o.GetName(), err)
			}
		}
		stored := time.Now()
		if err := w.wait(odd); err != nil {
			return err
		}
		first = append(first, max(w.first.Sub(stored), 0))
	}
	say(prefix+"one more route with a new Service: p50 / p90, 503 seen", "%s, %d", first,
		odd[http.StatusServiceUnavailable])
	for code, n := range others {
		odd[code] += n
	}
	say(prefix+"answers of a new route other than 404 and then 200", "%v", odd)
	return nil
}

// deleting measures the end of all routes.
func (b *bench) deleting(ctx context.Context) error {
	progress("deleting %d routes", b.inside)
	start := time.Now()
	if err := each(b.inside, func(i int) error {
		return b.client.Delete(ctx,
			route(fmt.Sprintf("r%d", i), "", "/"))
	}); err != nil {
		return fmt.Errorf("delete the routes: %w", err)
	}
	took := time.Since(start)
	last := time.Now()
	err := wait(ctx, 20*time.Second, func() error {
		if status, _ := get(b.http, b.address, fmt.Sprintf("r%d.example.com", b.inside-1)); status != 404 {
			return fmt.Errorf("a deleted route answers %d", status)
		}
		return nil
	})
	say("deleting all, by 4 clients / last one answers 404", "%s / %s", round(took), round(time.Since(last)))
	return err
}
