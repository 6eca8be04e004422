package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// change is something done to what serves the load.
type change struct {
	what string
	do   func(ctx context.Context) error
}

// underLoad makes every kind of change while requests and streams go on, and counts what fails.
func (b *bench) underLoad(ctx context.Context) error {
	if b.changes != b.inside {
		return nil
	}
	progress("changes under load")
	if err := b.stage(ctx); err != nil {
		return fmt.Errorf("prepare the changes: %w", err)
	}
	l, err := startLoad(ctx, b.address, secureLoad{[]string{secureHost}, secureWorkers, secureStreams})
	if err != nil {
		return err
	}
	defer l.end()
	start := time.Now()
	for _, c := range b.allChanges() {
		sent, failed, broken := l.sent.Load(), l.failed.Load(), l.broken.Load()
		if err := c.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", c.what, err)
		}
		time.Sleep(time.Second) // What a change breaks may show later.
		say("failed requests, broken streams: "+c.what, "%d of %d, %d of %d", l.failed.Load()-failed, l.sent.Load()-sent,
			l.broken.Load()-broken, webSockets+gRPCStreams)
	}
	say("load while changes were made", "%.0f requests/s, %.0f messages/s over %d streams, %d of them over TLS",
		float64(l.sent.Load())/time.Since(start).Seconds(),
		float64(l.passed.Load())/time.Since(start).Seconds(), webSockets+gRPCStreams, 2*secureStreams)
	return nil
}

// stage creates what the load needs: a route for requests, one for gRPC, and a TLS listener.
func (b *bench) stage(ctx context.Context) error {
	streaming, secure := route("grpc", "grpc", "/"), route("secure", "web", "/")
	streaming.Spec.Rules = []gwapiv1.HTTPRouteRule{streams()}
	secure.Spec.Rules = append(secure.Spec.Rules, streams())
	objects := slices.Concat(service("web", 80, "", b.back.web[:3]...), service("other", 80, "", b.back.web[3:5]...),
		service("grpc", 80, "kubernetes.io/h2c", b.back.streaming...),
		[]client.Object{
			route("web", "web", "/"), streaming, secure, certificate("cert", secureHost, 1),
			certificate("more", "more.example.com", 1000),
		})
	for _, o := range objects {
		if err := b.client.Create(ctx, o); err != nil {
			return fmt.Errorf("create %T %s: %w", o, o.GetName(), err)
		}
	}
	err := b.editGateway(ctx, func(g *gwapiv1.Gateway) {
		g.Spec.Listeners = append(g.Spec.Listeners, gwapiv1.Listener{
			Name: "https", Protocol: gwapiv1.HTTPSProtocolType, Port: 443,
			TLS: &gwapiv1.ListenerTLSConfig{CertificateRefs: []gwapiv1.SecretObjectReference{{Name: "cert"}}},
		})
	})
	if err != nil {
		return err
	}
	for _, host := range []string{webHost, secureHost} {
		if _, err := b.until(host, ""); err != nil {
			return err
		}
	}
	return b.seen(ctx, b.presents(secureHost, 1))
}

func (b *bench) allChanges() []change {
	return []change{
		{"20 endpoints replaced", b.rollout},
		{"scaled from 3 to 10 and back", b.scale},
		{"a rule inserted before the serving one and removed, 20 times", b.insert},
		{"rules reordered, 20 times", b.reorder},
		{"the rule renamed, 20 times", func(ctx context.Context) error {
			return b.editRoute(ctx, 20, func(i int, r *gwapiv1.HTTPRoute) {
				r.Spec.Rules[0].Name = ptr(gwapiv1.SectionName(fmt.Sprintf("rule-%d", i)))
			})
		}},
		{"weights shifted to another Service, 20 steps", func(ctx context.Context) error {
			return b.editRoute(ctx, 21, func(i int, r *gwapiv1.HTTPRoute) {
				r.Spec.Rules[0].BackendRefs = []gwapiv1.HTTPBackendRef{to("web", int32(100-5*i)), to("other", int32(5*i))}
			})
		}},
		{"certificate rotated, 10 times", b.rotate},
		{"policies attached and detached, 10 times", b.attach},
		{"a listener added and removed, 10 times", b.listener},
		{"a listener added on the port of others and removed, 10 times", b.neighbour},
		{"nothing, until the listeners of before have ended", b.drained},
	}
}

func (b *bench) rollout(ctx context.Context) error {
	for i := range 20 {
		port := b.back.web[(i+3)%12]
		if err := b.client.Update(ctx, slice("web", i%3, port)); err != nil {
			return err
		}
		if err := b.seen(ctx, b.serves(port)); err != nil {
			return err
		}
	}
	return nil
}

// scale creates slices with backends that the rollout has not left there, and deletes them.
func (b *bench) scale(ctx context.Context) error {
	for i := 3; i < 10; i++ {
		if err := b.client.Create(ctx, slice("web", i, b.back.web[(i+8)%12])); err != nil {
			return err
		}
		if err := b.seen(ctx, b.members(ctx, i+1)); err != nil {
			return err
		}
	}
	for i := 9; i >= 3; i-- {
		if err := b.client.Delete(ctx, slice("web", i, 0)); err != nil {
			return err
		}
		if err := b.seen(ctx, b.members(ctx, i)); err != nil {
			return err
		}
	}
	return nil
}

// insert ends when the cluster of the inserted rules has been removed.
func (b *bench) insert(ctx context.Context) error {
	err := b.editRoute(ctx, 40, func(i int, r *gwapiv1.HTTPRoute) {
		if i%2 == 0 {
			r.Spec.Rules = slices.Insert(r.Spec.Rules, 0, rule(fmt.Sprintf("/inserted-%d", i), to("other", 1)))
		} else {
			r.Spec.Rules = r.Spec.Rules[1:]
		}
	})
	if err != nil {
		return err
	}
	return b.removed(ctx, isOther)
}

// reorder has two rules with the same match, of which the first one serves, so that each time another Service does.
func (b *bench) reorder(ctx context.Context) error {
	err := b.editRoute(ctx, 21, func(i int, r *gwapiv1.HTTPRoute) {
		switch i {
		case 0:
			r.Spec.Rules = append(r.Spec.Rules, rule("/", to("other", 1)))
		case 20:
			r.Spec.Rules = []gwapiv1.HTTPRouteRule{rule("/", to("web", 1))}
		default:
			slices.Reverse(r.Spec.Rules)
		}
	})
	if err != nil {
		return err
	}
	return b.removed(ctx, isOther)
}

func (b *bench) rotate(ctx context.Context) error {
	for i := range 10 {
		if err := b.client.Update(ctx, certificate("cert", secureHost, int64(i+2))); err != nil {
			return err
		}
		if err := b.seen(ctx, b.presents(secureHost, int64(i+2))); err != nil {
			return err
		}
	}
	return nil
}

// attach puts policies on the Gateway and on a route and takes them away.
func (b *bench) attach(ctx context.Context) error {
	policy := func(kind, target, name string, spec map[string]any) *unstructured.Unstructured {
		spec["targetRefs"] = []any{map[string]any{"group": gwapiv1.GroupName, "kind": target, "name": name}}
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "gateway.envoyproxy.io/v1alpha1", "kind": kind,
			"metadata": map[string]any{"namespace": "default", "name": "on-" + name}, "spec": spec,
		}}
	}
	plain := func(name string) bool { return isOther(name) && !hasSettings(name) } // All weight is on other by now.
	const allowed = "Access-Control-Allow-Origin"
	for range 10 {
		traffic := policy("BackendTrafficPolicy", "HTTPRoute", "web",
			map[string]any{"loadBalancer": map[string]any{"type": "Random"}, "retry": map[string]any{"numRetries": int64(2)}})
		security := policy("SecurityPolicy", "Gateway", "eg",
			map[string]any{"cors": map[string]any{"allowOrigins": []any{"https://example.org"}}})
		for _, step := range []func() error{
			func() error { return b.moves(ctx, hasSettings, func() error { return b.client.Create(ctx, traffic) }) },
			func() error { return b.client.Create(ctx, security) },
			func() error { return b.seen(ctx, b.answers(80, allowed, "https://example.org")) },
			func() error { return b.moves(ctx, plain, func() error { return b.client.Delete(ctx, traffic) }) },
			func() error { return b.client.Delete(ctx, security) },
			func() error { return b.seen(ctx, b.answers(80, allowed, "")) },
		} {
			if err := step(); err != nil {
				return err
			}
		}
	}
	return b.removed(ctx, hasSettings)
}

// moves makes a change after which the load's requests go to clusters that are like this, and did not before.
func (b *bench) moves(ctx context.Context, like func(name string) bool, change func() error) error {
	before, err := b.requestsTo(ctx, like)
	if err != nil {
		return err
	}
	if err := change(); err != nil {
		return err
	}
	return b.seen(ctx, func() error {
		now, err := b.requestsTo(ctx, like)
		if err == nil && now == before {
			err = errors.New("no requests go to the other cluster")
		}
		return err
	})
}

func (b *bench) listener(ctx context.Context) error {
	return b.addAndRemove(ctx, gwapiv1.Listener{Name: "more", Protocol: gwapiv1.HTTPProtocolType, Port: 8081},
		b.answers(8081, "", ""), b.closed(8081))
}

// neighbour is a listener on the port that the secure streams go over.
func (b *bench) neighbour(ctx context.Context) error {
	const host = "more.example.com"
	return b.addAndRemove(ctx, gwapiv1.Listener{
		Name: "more", Protocol: gwapiv1.HTTPSProtocolType, Port: 443, Hostname: ptr(gwapiv1.Hostname(host)),
		TLS: &gwapiv1.ListenerTLSConfig{CertificateRefs: []gwapiv1.SecretObjectReference{{Name: "more"}}},
	}, b.presents(host, 1000), b.presents(host, 11)) // What rotation has left.
}

// addAndRemove adds a listener until that is seen and removes it until that is seen, a number of times.
func (b *bench) addAndRemove(ctx context.Context, l gwapiv1.Listener, added, removed func() error) error {
	for range 10 {
		if err := b.editGateway(ctx, func(g *gwapiv1.Gateway) {
			g.Spec.Listeners = append(g.Spec.Listeners,
				l)
		}); err != nil {
			return err
		}
		if err := b.seen(ctx, added); err != nil {
			return err
		}
		if err := b.editGateway(ctx,
			func(g *gwapiv1.Gateway) { g.Spec.Listeners = g.Spec.Listeners[:len(g.Spec.Listeners)-1] }); err != nil {
			return err
		}
		if err := b.seen(ctx, removed); err != nil {
			return err
		}
	}
	return nil
}

// editRoute changes the route that serves the load, a number of times.
func (b *bench) editRoute(ctx context.Context, times int, edit func(i int, r *gwapiv1.HTTPRoute)) error {
	for i := range times {
		b.revision++
		err := retry.RetryOnConflict(retry.DefaultBackoff, func() error { // Its status is written at the same time.
			r := &gwapiv1.HTTPRoute{}
			if err := b.client.Get(ctx, client.ObjectKey{Namespace: "default", Name: "web"}, r); err != nil {
				return err
			}
			edit(i, r)
			for j := range r.Spec.Rules {
				r.Spec.Rules[j].Filters = []gwapiv1.HTTPRouteFilter{{
					Type: gwapiv1.HTTPRouteFilterResponseHeaderModifier,
					ResponseHeaderModifier: &gwapiv1.HTTPHeaderFilter{Set: []gwapiv1.HTTPHeader{{
						Name:  revisionHeader,
						Value: strconv.Itoa(b.revision),
					}}},
				}}
			}
			return b.client.Update(ctx, r)
		})
		if err != nil {
			return err
		}
		if err := b.seen(ctx, b.answers(80, revisionHeader, strconv.Itoa(b.revision))); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) editGateway(ctx context.Context, edit func(*gwapiv1.Gateway)) error {
	return retry.RetryOnConflict(retry.DefaultBackoff, func() error { // As for routes.
		g := &gwapiv1.Gateway{}
		if err := b.client.Get(ctx, client.ObjectKey{Namespace: "default", Name: "eg"}, g); err != nil {
			return err
		}
		edit(g)
		return b.client.Update(ctx, g)
	})
}
