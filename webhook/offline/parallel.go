package offline

import (
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"gatehouse/policies/effective"
	"gatehouse/policies/verdict"
)

// share is how many documents a worker takes.
const share = 128

// each calls a function for all numbers below n, on all CPUs that the program may use.
func each(n int, do func(i int)) {
	var workers sync.WaitGroup
	var next atomic.Int64
	for range min(runtime.GOMAXPROCS(0), n) {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				do(i)
			}
		})
	}
	workers.Wait()
}

// takeAll does the steps with all objects, on all CPUs that the program may use. What is found is in the order of the
// documents.
func (r *review) takeAll(documents []document) {
	shares := slices.Collect(slices.Chunk(documents, share))
	if len(shares) > 1 && r.takeShares(shares, len(documents)) {
		return
	}
	for i, d := range documents {
		r.Progress("reviewing objects", i, len(documents))
		r.take(d)
	}
}

// takeShares takes shares at the same time. If an object is there twice, nothing is taken, and it returns false: which of
// both is refused depends on the order.
func (r *review) takeShares(shares [][]document, all int) bool {
	reviews := make([]*review, len(shares))
	var done int
	var mu sync.Mutex
	each(len(shares), func(i int) {
		part := r.apart()
		for _, d := range shares[i] {
			part.take(d)
		}
		mu.Lock()
		defer mu.Unlock()
		reviews[i], done = part, done+len(shares[i])
		r.Progress("reviewing objects", done, all)
	})
	there := maps.Clone(r.documents)
	for _, part := range reviews {
		for ref, d := range part.documents {
			if _, twice := there[ref]; twice {
				return false
			}
			there[ref] = d
		}
	}
	for _, part := range reviews {
		r.add(part)
	}
	r.documents = there
	return true
}

// apart is a review of some objects by the same rules. It shares only what no step changes, or what may be changed by
// several at a time.
func (r *review) apart() *review {
	part := *r
	part.Review = Review{documents: map[verdict.Ref]document{}}
	part.found, part.asked, part.events = nil, nil, nil
	part.refused, part.invalid = map[effective.Object]bool{}, map[verdict.Ref][]string{}
	return &part
}

// add takes what was found in some objects.
func (r *review) add(part *review) {
	r.found = append(r.found, part.found...)
	r.Judged = append(r.Judged, part.Judged...)
	r.Ignored += part.Ignored
	r.asked, r.events = append(r.asked, part.asked...), append(r.events, part.events...)
	maps.Copy(r.refused, part.refused)
	maps.Copy(r.invalid, part.invalid)
}
