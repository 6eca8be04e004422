// Package withenvoy holds the tests of xds against a real Envoy, started as the proxies of a Gateway are: its bootstrap, TLS, a
// token. They run in a network of their own, since Envoy's ports are fixed. They are apart from the scripted tests, which need neither.
package withenvoy
