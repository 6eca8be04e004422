package withenvoy

import (
	"context"
	"net/http"
	"testing"
	"time"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/translator"
)

// loadedChange is a change of what covers the route of a load.
type loadedChange struct {
	what           string
	apply, removed []translator.Object
	// filters and backend are those of the route from then on.
	filters []gwapiv1.HTTPRouteFilter
	backend *gwapiv1.HTTPBackendRef
}

// TestPoliciesUnderLoad attaches, changes, re-targets and removes a BackendTrafficPolicy, a SecurityPolicy,
// HTTPRouteFilters and Backends, under up to 1,600 requests in a second and about 140 streams. No request fails and no
// stream ends.
func TestPoliciesUnderLoad(t *testing.T) {
	haveOutside(t)
	c := startLoaded(t)
	load := &steady{t: t}
	load.ctx, load.stop = context.WithCancel(t.Context())
	load.step.Store("without a policy")
	for range 4 {
		load.start()
	}
	for _, w := range ways {
		for range 12 {
			load.follow(w, "the beginning")
		}
	}
	for _, change := range c.loadedChanges() {
		load.step.Store(change.what)
		for _, o := range change.removed {
			c.delete(o)
		}
		if len(change.apply) > 0 {
			c.apply(change.apply...)
		}
		time.Sleep(200 * time.Millisecond)
		c.apply(c.loadedRoute(change))
		load.takes(change.what)
		for _, w := range ways {
			load.follow(w, change.what)
		}
		time.Sleep(500 * time.Millisecond)
	}
	load.end()
}

// loadedRoute is the route of the load, whose responses name the change.
func (c *translated) loadedRoute(change loadedChange) *gwapiv1.HTTPRoute {
	route := c.route(secureHost, nil)
	rule := &route.Spec.Rules[0]
	rule.BackendRefs[0].Name = "busy"
	if change.backend != nil {
		rule.BackendRefs[0] = *change.backend
	}
	rule.Timeouts = &gwapiv1.HTTPRouteTimeouts{Request: new(gwapiv1.Duration("0s"))}
	rule.Filters = append(change.filters, gwapiv1.HTTPRouteFilter{
		Type: gwapiv1.HTTPRouteFilterResponseHeaderModifier, ResponseHeaderModifier: &gwapiv1.HTTPHeaderFilter{
			Set: []gwapiv1.HTTPHeader{{Name: "x-step", Value: change.what}},
		},
	})
	return route
}

// loadedChanges are all changes in order: of a BackendTrafficPolicy each group of its fields.
func (c *translated) loadedChanges() (changes []loadedChange) {
	of := func(what string, objects ...translator.Object) {
		changes = append(changes, loadedChange{what: what, apply: objects})
	}
	for _, spec := range []string{
		"{timeout: {http: {connectionIdleTimeout: 10m}}}",
		"{timeout: {http: {streamIdleTimeout: 0s}}, retry: {numRetries: 3}}",
		"{circuitBreaker: {maxConnections: 3000, maxParallelRequests: 3000, maxPendingRequests: 3000}}",
		"{loadBalancer: {type: ConsistentHash, consistentHash: {type: SourceIP}}}",
		"{loadBalancer: {type: RoundRobin, slowStart: {window: 5s}}, healthCheck: {passive: {}}}",
		"{healthCheck: {active: {type: TCP, tcp: {}}}, connection: {bufferLimit: 64Ki}, tcpKeepalive: {probes: 3}, dns: {dnsRefreshRate: 5s}}",
		"{compressor: [{type: Gzip}], faultInjection: {delay: {fixedDelay: 1ms, percentage: 10}}}",
		"{bandwidthLimit: {response: {limit: {value: 100Mi, unit: Second}}}}",
		"{rateLimit: {local: {rules: [{limit: {requests: 1000000, unit: Second}}]}}, requestBuffer: {limit: 64Ki}}",
		"{httpUpgrade: [{type: websocket}], admissionControl: {minSuccessRate: 1}}",
	} {
		of(spec, c.traffic("HTTPRoute", secureHost, spec))
	}
	onGateway := c.traffic("Gateway", "web", "{retry: {numRetries: 1}}")
	onGateway.Name = secureHost
	of("BackendTrafficPolicy on the Gateway", onGateway)
	changes = append(changes, loadedChange{what: "BackendTrafficPolicy removed", removed: []translator.Object{onGateway}})

	onRoute, broad := c.admitting("guard", "HTTPRoute", secureHost, nil, "127.0.0.1/32"), c.admitting("guard", "Gateway", "web", nil, "127.0.0.0/8")
	of("SecurityPolicy", onRoute)
	of("SecurityPolicy on the Gateway", broad)
	changes = append(changes, loadedChange{what: "SecurityPolicy removed", removed: []translator.Object{broad}})

	rewrite := referring("rewrite")
	of("HTTPRouteFilter", c.routeFilter("rewrite", `{urlRewrite: {path: {type: ReplaceRegexMatch, replaceRegexMatch: {pattern: "^/nowhere$", substitution: /}}}}`))
	changes[len(changes)-1].filters = rewrite
	of("HTTPRouteFilter with a credential", c.credential("key", "Bearer t0k3n"),
		c.routeFilter("rewrite", `{credentialInjection: {credential: {valueRef: {name: key}}}}`))
	changes[len(changes)-1].filters = rewrite
	of("another credential", c.credential("key", "Bearer 0th3r"))
	changes[len(changes)-1].filters = rewrite
	changes = append(changes, loadedChange{what: "without HTTPRouteFilter"})
	return append(changes, c.loadedBackends()...)
}

// loadedBackends sends the load to a Backend, which changes, and back to the Service.
func (c *translated) loadedBackends() (changes []loadedChange) {
	listed := c.listing("listed", http.HandlerFunc(streaming), http.HandlerFunc(streaming))
	ref := toListing("listed")
	for _, spec := range []struct {
		what   string
		change func()
	}{
		{"Backend", func() {}},
		{"one endpoint less", func() { listed.Spec.Endpoints = listed.Spec.Endpoints[:1] }},
		{"appProtocols", func() { listed.Spec.AppProtocols = append(listed.Spec.AppProtocols, "gateway.envoyproxy.io/h2c") }},
	} {
		spec.change()
		listed.Generation = c.meta("").Generation
		changes = append(changes, loadedChange{what: spec.what, apply: []translator.Object{listed.DeepCopy()}, backend: &ref})
	}
	return append(changes, loadedChange{what: "without Backend"})
}
