package flow_test

import (
	"context"
	"fmt"
	"testing"

	"gatehouse/translator/flow"
)

// benchmark measures do at several sizes of the sample; what it costs should hardly depend on them.
func benchmark(b *testing.B, sizes []int, do func(f *sample, version int)) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			f, version := newSample().fill(n), 1
			b.ReportAllocs()
			for b.Loop() {
				version++
				do(f, version)
			}
		})
	}
}

// try is a Try that nobody gives up.
func try(e *flow.Engine, change func(), look func(*flow.Changes)) {
	if err := e.Try(context.Background(), change, look); err != nil {
		panic(err)
	}
}

func oneSlice(f *sample, version int) {
	flow.Set(f.e, f.slices, "s7", &fleetSlice{"s7", fmt.Sprint(version)})
}

func BenchmarkCommitOneOf10000(b *testing.B) {
	sizes := []int{1_000, 10_000}
	b.Run("slice", func(b *testing.B) {
		benchmark(b, sizes, func(f *sample, version int) { oneSlice(f, version); f.e.Commit() })
	})
	b.Run("route", func(b *testing.B) {
		benchmark(b, sizes, func(f *sample, version int) { f.setRoute(77, version); f.e.Commit() })
	})
	b.Run("gateway", func(b *testing.B) {
		benchmark(b, sizes, func(f *sample, version int) { flow.Set(f.e, f.gateways, "g", version); f.e.Commit() })
	})
}

func BenchmarkTry(b *testing.B) {
	sizes := []int{1_000, 10_000}
	look := func(*flow.Changes) {}
	b.Run("slice", func(b *testing.B) {
		benchmark(b, sizes, func(f *sample, version int) { try(f.e, func() { oneSlice(f, version) }, look) })
	})
	b.Run("route", func(b *testing.B) {
		benchmark(b, sizes, func(f *sample, version int) { try(f.e, func() { f.setRoute(77, version) }, look) })
	})
	b.Run("gateway", func(b *testing.B) {
		benchmark(b, sizes, func(f *sample, version int) {
			try(f.e, func() { flow.Set(f.e, f.gateways, "g", version) }, look)
		})
	})
}

func BenchmarkFillWith10000(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		newSample().fill(10_000)
	}
}
