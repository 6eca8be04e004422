package offline

// found is a finding whose place is not looked up yet.
type found struct {
	Finding
	// at has the field; it has no source if the place is known.
	at    document
	field string
}

// report takes a finding about a field of an object.
func (r *review) report(d document, field string, f Finding) {
	r.found = append(r.found, found{Finding: f, at: d.located(), field: field})
}

// place makes findings of what was found, with their places. Each document is parsed once for all that was found in it.
func (r *review) place() {
	where := map[unread][]int{}
	for i := range r.found {
		if at := &r.found[i].at; at.source != nil {
			of := unread{at.source, at.part}
			where[of] = append(where[of], i)
		}
	}
	documents := make([][]int, 0, len(where))
	for _, those := range where {
		documents = append(documents, those)
	}
	each(len(documents), func(i int) {
		first := r.found[documents[i][0]].at
		tree := first.source.tree(first.part)
		for _, at := range documents[i] {
			f := &r.found[at]
			if ofRules(f.at.kind) {
				f.Place = f.at.placeOf(tree, f.Problem)
			} else {
				f.Place = f.at.placeIn(tree, f.field)
			}
		}
	})
	for i := range r.found {
		r.Findings = append(r.Findings, r.found[i].Finding)
	}
	r.found = nil
}
