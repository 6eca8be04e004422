// Package xds delivers translated resources to the Envoys of every Gateway: it decides who gets what and when.
//
// The translation publishes what changed (translator.Delta); each connected proxy gets it over one delta ADS stream of its
// own, in an order that never lets a route name a cluster that is not yet warm and never takes a cluster away from a route that
// is still in use. What a proxy acknowledges or refuses is reported back, since it is an input of the translation.
//
// The parts, from outside to inside:
//
//	serving.go, auth.go   the gRPC server, TLS, who may ask for what
//	server.go, fleet.go   what is published, one fleet of proxies per Gateway
//	stream.go, report.go  one proxy's connection: the only goroutines of this package
//	session.go            what one proxy has, was sent, acknowledged and asks for: the delta protocol, without I/O
//	plan.go, warm.go      what is sent next: make before break
//	refuse.go, leave.go   what happens to refused and to vanished resources
//	judge.go, trial.go    which part of a refused resource the proxy means
//	memory.go             what a proxy remembers of what it refused
//	order.go              the types in the order in which they are sent
package xds
