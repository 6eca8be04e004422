package offline

import (
	"maps"
	"runtime"
	"sync"

	"gatehouse/policies/effective"
	"gatehouse/policies/verdict"
)

// share is how many documents a worker takes at least.
const share = 128

// takeAll does the steps with all objects, on all CPUs that the program may use. What is found is in the order of the
// documents. Places are found by file, so a file is never divided.
func (r *review) takeAll(documents []document) {
	shares := divide(documents)
	if len(shares) > 1 && runtime.GOMAXPROCS(0) > 1 && r.takeShares(shares, len(documents)) {
		return
	}
	for i, d := range documents {
		r.Progress("reviewing objects", i, len(documents))
		r.take(d)
	}
}

// divide makes shares of whole files, in order.
func divide(documents []document) (shares [][]document) {
	start := 0
	for i := range documents {
		last := i+1 == len(documents)
		if last || i+1-start >= share && documents[i+1].source != documents[i].source {
			shares = append(shares, documents[start:i+1])
			start = i + 1
		}
	}
	return shares
}

// takeShares takes shares at the same time. If an object is there twice, nothing is taken, and it returns false: which of
// both is refused depends on the order.
func (r *review) takeShares(shares [][]document, all int) bool {
	reviews, next, finished := make([]*review, len(shares)), make(chan int), make(chan int)
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(shares)) {
		workers.Go(func() {
			for i := range next {
				reviews[i] = r.apart()
				for _, d := range shares[i] {
					reviews[i].take(d)
				}
				finished <- len(shares[i])
			}
		})
	}
	go func() {
		for i := range shares {
			next <- i
		}
		close(next)
		workers.Wait()
		close(finished)
	}()
	done := 0
	for n := range finished {
		done += n
		r.Progress("reviewing objects", done, all)
	}
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
	part.asked, part.events = nil, nil
	part.refused, part.invalid = map[effective.Object]bool{}, map[verdict.Ref][]string{}
	return &part
}

// add takes what was found in some objects.
func (r *review) add(part *review) {
	r.Findings = append(r.Findings, part.Findings...)
	r.Judged = append(r.Judged, part.Judged...)
	r.Ignored += part.Ignored
	r.asked, r.events = append(r.asked, part.asked...), append(r.events, part.events...)
	maps.Copy(r.refused, part.refused)
	maps.Copy(r.invalid, part.invalid)
}
