package feature

// Traits are what others must know of a rule or a policy before anything is made of it. They hold even if the rule or
// what the policy covers answers 500.
type Traits struct {
	// Preflights reports whether browsers ask beforehand, by an OPTIONS request, whether they may send a request. Then
	// the matches of the rule get such requests too.
	Preflights bool
	// Together reports whether all backends of a rule must be in one cluster, since an endpoint is chosen among those of
	// all backends. Otherwise each backend may have a cluster of its own.
	Together bool

	// VerifiesClients reports whether clients without a trusted certificate get no connection. Then none gets one while
	// what the policy covers is not served.
	VerifiesClients bool

	// What follows is of rules only.

	// Answers reports whether requests are answered without a backend.
	Answers bool
	// ReplacesPrefix reports whether the prefix of a match is replaced in paths.
	ReplacesPrefix bool
	// Apart reports whether each backend may need a route of its own (Share, OnRoute).
	Apart bool
}

// Or returns what holds in one of both.
func (t Traits) Or(o Traits) Traits {
	return Traits{
		Preflights: t.Preflights || o.Preflights, Together: t.Together || o.Together, Answers: t.Answers || o.Answers,
		VerifiesClients: t.VerifiesClients || o.VerifiesClients,
		ReplacesPrefix:  t.ReplacesPrefix || o.ReplacesPrefix, Apart: t.Apart || o.Apart,
	}
}
