// Package explain says what becomes of a request: which listener, virtual host and route of Envoy it meets, from which
// objects they come, and which other routes would take it.
//
// It reads the resources that Envoy gets, and chooses among them as Envoy does. What it knows of Envoy is what the
// translation uses. Anything else in the way of a request is an error (Unknown), so that no answer is a guess.
//
// Everything here is a function of its arguments.
package explain
