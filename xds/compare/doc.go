// Package compare says what a change of objects does to the traffic: it compares what Envoys get before and after it,
// with the objects behind it.
//
// Everything here is a function of its arguments, and sorted.
package compare
