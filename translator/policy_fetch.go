package translator

import (
	"fmt"
	"slices"

	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
)

// What a policy needs from a web server is fetched outside of the translation, which only says what is wanted and reads
// the result.

// reasonNotFetched is the reason of a condition that reports content which has not been fetched.
const reasonNotFetched = "NotFetched"

// neededFetch is what a policy wants to be fetched.
type neededFetch struct {
	*feature.Fetch
	// Through are the backends that it is fetched from, nil for the host of the URL.
	Through *neededCluster
	// Namespace is that of the policy that asks for it.
	Namespace string
}

// equal compares all that a Fetch says: fetches with equal forms have equal checks.
func (f *neededFetch) equal(o *neededFetch) bool {
	return f.key() == o.key() && f.Namespace == o.Namespace && (f.Through == nil || f.Through.equal(*o.Through))
}

// key identifies what is fetched, how, and from whom.
func (f *neededFetch) key() string {
	if f.Through == nil {
		return f.Key()
	}
	return fetchKey(f.Fetch, f.Through.Source)
}

// fetchedBy has the keys of what a policy wants to be fetched.
func fetchedBy(_ string, p *policyRow) []string {
	keys := make([]string, len(p.Fetches))
	for i, f := range p.Fetches {
		keys[i] = f.key()
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// fetch is what the policies with that key want to be fetched.
func (t *Tables) fetch(r *flow.Read, key string, members []flow.Row[*policyRow]) (*Fetch, bool) {
	var fetch *Fetch
	for _, m := range members {
		for _, f := range m.Value.Fetches {
			if f.key() != key {
				continue
			}
			if fetch == nil {
				fetch = &Fetch{Fetch: *f.Fetch, Via: t.via(r, f.Through)}
			}
			fetch.Namespaces = append(fetch.Namespaces, f.Namespace)
		}
	}
	slices.Sort(fetch.Namespaces)
	fetch.Namespaces = slices.Compact(fetch.Namespaces)
	return fetch, true
}

func equalFetches(a, b *Fetch) bool {
	return a.Key() == b.Key() && a.Via.equal(b.Via) && slices.Equal(a.Namespaces, b.Namespaces)
}

// meetFetch answers a need for content that is fetched, and reports whether it could.
func (t *Tables) meetFetch(r *flow.Read, p *policyRow, from verdict.Ref, need *feature.Need) (bool, []verdict.Problem) {
	f := &neededFetch{Fetch: need.Fetch, Namespace: from.Namespace}
	problems := feature.CheckURL("", f.URL)
	if f.SHA256 != "" {
		problems = append(problems, feature.CheckSHA256("", f.SHA256)...)
	}
	if len(problems) > 0 {
		return false, problems[:1]
	}
	if need.Fetch.Through != "" {
		through, ok := p.Clusters[need.Fetch.Through]
		if !ok {
			return false, nil // The need for the backends has the problem.
		}
		f.Through = &through
	}
	p.Fetches = append(p.Fetches, f)
	fetched, _ := t.in.fetched.Get(r, f.key())
	failure := fetched.Failure
	switch {
	case f.Large && fetched.Present:
		if p.Have.Files == nil {
			p.Have.Files = map[string]feature.File{}
		}
		p.Have.Files[need.Field] = fetched.File
		return true, nil
	case !f.Large && fetched.Content != nil:
		err := f.Check(fetched.Content)
		if err == nil {
			p.Have.AddContent(need.Field, fetched.Content)
			return true, nil
		}
		failure = fmt.Sprintf("the content %v", err)
	}
	return false, []verdict.Problem{*notFetched(f.Fetch, failure)}
}

// notFetched is the problem of a need without content. The failure is empty if nothing has failed yet.
func notFetched(f *feature.Fetch, failure string) *verdict.Problem {
	problem := &verdict.Problem{Reason: reasonNotFetched, Weight: verdict.Unresolved, Pending: true}
	if failure == "" {
		problem.Message = fmt.Sprintf("%s from %q has not been fetched yet: wait a moment; until then, what needs it is not served", f.Form, f.URL)
	} else {
		problem.Message = fmt.Sprintf("%s from %q cannot be fetched (%s): correct the URL or its server, which is asked again until it works", f.Form, f.URL, failure)
	}
	return problem
}
