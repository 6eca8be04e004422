// Package xds delivers translated resources to the Envoys of every Gateway: it decides which proxy gets which resource,
// and when.
//
// The translation publishes changes (translator.Delta). Each connected proxy gets them over its own delta ADS stream.
// The order never lets a route name a cluster that is not warm yet, and never removes a cluster that a route still
// uses. The acknowledgements and rejections of proxies are reported back, because they are inputs of the translation.
//
// The parts, from outside to inside:
//
//	serving.go, auth.go   the gRPC server, TLS, authentication and authorization
//	server.go, fleet.go   what is published, one fleet of proxies per Gateway
//	stream.go, report.go  the connection of one proxy: the only goroutines of this package
//	limits.go             the connection of the rate limit service
//	session.go            what one proxy has, was sent, acknowledged and asks for: the delta protocol, without I/O
//	plan.go, warm.go      what is sent next: make before break
//	reject.go, leave.go   what happens to rejected and to removed resources
//	judge.go, trial.go    which part of a rejected resource the proxy means
//	memory.go             what a proxy remembers of the secrets that it rejected
//	order.go              the types in the order in which they are sent
//
// The code that looks for the cause of a rejection uses the words of a court:
//
//	reject    take Envoy's rejection (NACK) of a response
//	part      a route or a filter chain inside of a resource, known by the hash of its bytes
//	suspect   a part that the proxy has not accepted before, so it may be the cause
//	judge     look for the guilty part of a rejected resource
//	trial     the search by sending some of the suspects at a time
//	convict   note that a part is guilty: no proxy of the fleet gets these bytes again
//	park      leave a guilty part out for one proxy, because the fleet's list of guilty parts is full
//	pardon    absolve a resource when the fleet returns to the version that the proxy runs
//	absolve   forget that the proxy rejected a resource
//	spoilt    a secret whose rejected bytes the proxy may still hold
//	doubt     a rejection that may be caused by a spoilt secret, so it is judged later
//	acquit    find that a spoilt secret was not the cause
package xds
