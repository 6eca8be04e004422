package translator

import (
	"fmt"
	"slices"

	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
)

// What a policy needs from a web server is fetched outside of the translation, which only says what is wanted, and reads
// what came of it.

// reasonNotFetched is the reason of a condition that reports content which has not been fetched.
const reasonNotFetched = "NotFetched"

// fetchedBy has the keys of what a policy wants to be fetched.
func fetchedBy(_ string, p *policyRow) []string {
	keys := make([]string, len(p.Fetches))
	for i, f := range p.Fetches {
		keys[i] = f.Key()
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// fetch is what the policies with that key want to be fetched.
func (t *Tables) fetch(_ *flow.Read, key string, members []flow.Row[*policyRow]) (*Fetch, bool) {
	for _, f := range members[0].Value.Fetches {
		if f.Key() == key {
			return f, true
		}
	}
	return nil, false
}

// equalFetches compares all that a Fetch says: fetches with equal forms have equal checks.
func equalFetches(a, b *Fetch) bool { return a.Key() == b.Key() }

// fetchedContent returns what was fetched, or why there is nothing that can be used.
func (t *Tables) fetchedContent(r *flow.Read, f *Fetch) ([]byte, *verdict.Problem) {
	problem := &verdict.Problem{Reason: reasonNotFetched, Weight: verdict.Unresolved, Pending: true}
	fetched, _ := t.in.fetched.Get(r, f.Key())
	failure := fetched.Failure
	if fetched.Content != nil {
		err := f.Check(fetched.Content)
		if err == nil {
			return fetched.Content, nil
		}
		failure = fmt.Sprintf("the content %v", err)
	}
	if failure == "" {
		problem.Message = fmt.Sprintf("%s from %q has not been fetched yet: wait a moment; until then, what needs it is not served", f.Form, f.URL)
	} else {
		problem.Message = fmt.Sprintf("%s from %q cannot be fetched: %s; correct the URL or its server, which is asked again until it works", f.Form, f.URL, failure)
	}
	return nil, problem
}
