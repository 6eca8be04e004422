package compare

// Report is what a change does to the traffic.
type Report struct {
	Listeners []Change `json:"listeners"`
	Hosts     []Change `json:"hosts"`
	Routes    []Change `json:"routes"`
	Policies  []Change `json:"policies"`
	TLS       []Change `json:"tls"`
	Problems  []Change `json:"problems"`
}

// Kind is what happens to something.
type Kind string

// The kinds of changes.
const (
	Added     Kind = "added"
	Removed   Kind = "removed"
	Changed   Kind = "changed"
	Moved     Kind = "moved"
	Shadowed  Kind = "shadowed"
	Reachable Kind = "reachable"
	// Effective and Lost are about policies, New and Mended about problems.
	Effective Kind = "effective"
	Lost      Kind = "lost"
	New       Kind = "new"
	Mended    Kind = "mended"
)

// Change is one change. Where it is the same in several places, it is one change with all of them.
type Change struct {
	Kind Kind `json:"kind"`
	// What is the name of what changes.
	What string `json:"what"`
	// Details are sorted by how they are found.
	Details []string `json:"details,omitempty"`
	// Places are listeners with hosts, or routes.
	Places []string `json:"places,omitempty"`
}

// section is a part of a report with its title.
type section struct {
	title   string
	changes []Change
}

func (r *Report) sections() []section {
	return []section{
		{"Listeners", r.Listeners},
		{"Hosts", r.Hosts},
		{"Routes", r.Routes},
		{"Policies", r.Policies},
		{"TLS", r.TLS},
		{"Problems", r.Problems},
	}
}

// Empty reports whether nothing changes.
func (r *Report) Empty() bool {
	for _, s := range r.sections() {
		if len(s.changes) > 0 {
			return false
		}
	}
	return true
}
