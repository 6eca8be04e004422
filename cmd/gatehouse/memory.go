package main

import (
	"os"
	"runtime/debug"
	"runtime/metrics"
)

const (
	// rareGarbage is the percentage by which memory grows until garbage is collected.
	rareGarbage = 400
	// memoryLimit is the size from which on garbage is collected more often, in bytes.
	memoryLimit = 1200 << 20
	// overInUse is how many times as much as is in use the limit is at least.
	overInUse = 1.6
)

// spareCollector has garbage collected rarely (decision 089), unless the environment says how often. It returns a function
// that fits the limit to what is in use.
func spareCollector() (fit func()) {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return func() {}
	}
	debug.SetGCPercent(rareGarbage)
	inUse := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	fit = func() {
		metrics.Read(inUse)
		debug.SetMemoryLimit(max(memoryLimit, int64(overInUse*float64(inUse[0].Value.Uint64()))))
	}
	fit()
	return fit
}
