// Package withenvoy tests xds with a real Envoy, which is started like the proxies of a Gateway: with its bootstrap,
// TLS and a token. The tests run in their own network namespace, because Envoy's ports are fixed. They are separate
// from the scripted tests, which need neither Envoy nor a namespace.
package withenvoy
