package admissionrule

import (
	"context"
	"fmt"
	"maps"
	"slices"

	celconfig "k8s.io/apiserver/pkg/apis/cel"

	rulesv1alpha1 "gatehouse/api/rules/v1alpha1"
	"gatehouse/policies/effective"
)

// Survey evaluates rules that read effective for objects that are all there at once, such as those of files. A violation
// that many objects touch is found once (decision 088). It is safe for concurrent use.
type Survey struct {
	// now is what takes effect with all objects, and earlier what did so without them.
	now, earlier surveyed
}

// Subject is an object that rules are asked about. It is safe for concurrent use.
type Subject struct {
	survey *Survey
	in     *Input
	// mine are the pieces that the object touches, and was those that it touched earlier.
	mine, was []int
	values    map[string]any
}

// Inquiry evaluates a rule for one object after the other.
type Inquiry struct {
	rule *Rule
	// told are the pieces that a requirement has been violated by, and met those that have met one which is met by each
	// piece alone.
	told map[requirement]map[int]bool
	met  map[*validation]map[int]bool
}

// NewInquiry returns an inquiry that has not been asked about any object.
func NewInquiry(r *Rule) *Inquiry {
	return &Inquiry{rule: r, told: map[requirement]map[int]bool{}, met: map[*validation]map[int]bool{}}
}

// requirement is a validation with the index of the parameters.
type requirement struct {
	of     *validation
	params int
}

// surveyed is the effective configuration as a whole.
type surveyed struct {
	pieces []piece
	// naming are the indexes of the pieces that are of an object or name it.
	naming map[effective.Object][]int
	places map[piece][]piece
}

// NewSurvey returns a survey of the effective configuration as a whole: without the objects, and with them. The first is
// nil if nothing counts as there before.
func NewSurvey(earlier, now *effective.Configuration) (*Survey, error) {
	s := &Survey{}
	if earlier == nil {
		earlier = &effective.Configuration{}
	}
	var err error
	if s.earlier, err = survey(earlier); err != nil {
		return nil, err
	}
	s.now, err = survey(now)
	return s, err
}

func survey(whole *effective.Configuration) (surveyed, error) {
	data, err := whole.Data()
	if err != nil {
		return surveyed{}, err
	}
	all := side{whole, data}
	s := surveyed{pieces: all.pieces(), naming: map[effective.Object][]int{}, places: all.places()}
	for i, p := range s.pieces {
		add := func(name effective.Object) {
			if all := s.naming[name]; len(all) == 0 || all[len(all)-1] != i {
				s.naming[name] = append(all, i)
			}
		}
		gateway := p.gateway(whole, len(whole.Routes), i)
		add(effective.Object{Kind: "Gateway", Namespace: gateway.Namespace, Name: gateway.Name})
		add(effective.Object{Kind: "GatewayClass", Name: gateway.Class})
		names(p.value, add)
	}
	return s, nil
}

func (s *surveyed) at(indexes []int) []piece {
	pieces := make([]piece, len(indexes))
	for i, index := range indexes {
		pieces[i] = s.pieces[index]
	}
	return pieces
}

// gateway is that of the piece with an index: first come the routes, then the listeners.
func (p piece) gateway(whole *effective.Configuration, routes, i int) *effective.Gateway {
	if p.rule != nil {
		return &p.rule.Listener.Gateway
	}
	return &whole.Listeners[i-routes].Gateway
}

// names finds the objects that a value of the effective configuration names: whatever has a kind and a name.
func names(value any, add func(effective.Object)) {
	switch v := value.(type) {
	case map[string]any:
		kind, _ := v["kind"].(string)
		name, _ := v["name"].(string)
		if kind != "" && name != "" {
			namespace, _ := v["namespace"].(string)
			add(effective.Object{Kind: kind, Namespace: namespace, Name: name})
		}
		for _, inner := range v {
			names(inner, add)
		}
	case []any:
		for _, inner := range v {
			names(inner, add)
		}
	}
}

// Rank says in which order a survey is asked about kinds, the lowest first, so that a violation is found at the object
// that has the route or the listener: routes, Gateways, ListenerSets, all others.
func Rank(r Resource) int {
	switch {
	case r.Kind == "Gateway":
		return 1
	case r.Kind == "ListenerSet":
		return 2
	case r.Group == gatewayGroup && slices.Contains([]string{"HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute"}, r.Kind):
		return 0
	}
	return 3
}

// Subject prepares the creation of an object for all rules.
func (s *Survey) Subject(in *Input) *Subject {
	name := effective.Object{Kind: in.Resource.Kind, Namespace: in.Request.Namespace, Name: in.Request.Name}
	return &Subject{survey: s, in: in, mine: s.now.naming[name], was: s.earlier.naming[name], values: in.values(nil)}
}

// Judge evaluates the rule for the creation of an object, with what the object touches of the effective configuration,
// except for what violates the same requirement and has been found at another object. It returns an error only if ctx
// ends.
func (q *Inquiry) Judge(ctx context.Context, o *Subject) ([]Finding, error) {
	if o.in.Resource.Unborn || o.in.Resource.Partial && len(o.mine) == 0 || !q.rule.matches(o.in) {
		return nil, nil
	}
	all, err := q.rule.parameters(o.in)
	var found []violation
	if err != nil {
		found = q.rule.failed(nil, err)
	}
	held := q.held(o)
	for i, params := range all {
		a := &asked{Inquiry: q, Subject: o, ctx: ctx, held: held, params: i, values: o.values}
		if params != nil {
			a.values = maps.Clone(o.values)
			a.values[varParams] = params
		}
		found = append(found, a.evaluate()...)
	}
	return q.rule.findings(ctx, o.in, found)
}

// held are the pieces that the object touches, without those that exceptions from the rule spare.
func (q *Inquiry) held(o *Subject) []int {
	if q.rule.spec.Exceptions != rulesv1alpha1.ExceptionsAllowed || o.in.Exceptions == nil {
		return o.mine
	}
	spares := q.rule.spares(o.in)
	return slices.DeleteFunc(slices.Clone(o.mine), func(i int) bool { return spares(o.survey.now.pieces[i]) })
}

// asked is a rule that is evaluated for an object with one of its parameters.
type asked struct {
	*Inquiry
	*Subject
	ctx    context.Context
	held   []int
	params int
	values map[string]any
}

func (a *asked) evaluate() (found []violation) {
	mine := a.survey.now.at(a.mine)
	values, _ := a.with(mine)
	applies, err := a.rule.applies(a.ctx, values)
	if err != nil {
		return a.rule.failed(nil, err)
	}
	if !applies {
		return nil
	}
	for i := range a.rule.validations {
		v := &a.rule.validations[i]
		if v.effective {
			found = append(found, a.require(v)...)
			continue
		}
		problems := a.check(v, mine)
		for j := range problems {
			problems[j].Before = a.in.changes() && slices.Contains(a.checkOld(v, nil), problems[j])
		}
		found = append(found, problems...)
	}
	return found
}

// require evaluates a requirement. What violates it alone is a finding, and the rest another one if it violates it too.
func (a *asked) require(v *validation) (found []violation) {
	key := requirement{v, a.params}
	told := a.told[key]
	if told == nil {
		told = map[int]bool{}
		a.told[key] = told
	}
	met := a.met[v]
	if met == nil {
		met = map[int]bool{}
		a.met[v] = met
	}
	known := func(i int) bool { return told[i] || met[i] }
	rest := slices.DeleteFunc(slices.Clone(a.held), known)
	if len(rest) == 0 && len(a.mine) > 0 || len(a.held) < len(a.mine) && len(a.check(v, a.survey.now.at(a.mine))) == 0 {
		return nil
	}
	for {
		problems, about := a.blame(v, rest)
		if len(problems) == 0 {
			if v.apart {
				for _, i := range rest {
					met[i] = true
				}
			}
			return found
		}
		found = append(found, problems...)
		for _, i := range about {
			told[i] = true
		}
		if rest = slices.DeleteFunc(rest, known); len(rest) == 0 {
			return found
		}
	}
}

// blame evaluates a requirement for some pieces, and returns which of them violate it: those that do so alone, or else
// all of them. If some of those that do so alone did not do so earlier, the finding is about these.
func (a *asked) blame(v *validation, indexes []int) (problems []violation, about []int) {
	problems = a.check(v, a.survey.now.at(indexes))
	if len(problems) == 0 || len(indexes) == 0 {
		return problems, indexes
	}
	var alone, fresh []int
	for _, i := range indexes {
		p := a.survey.now.pieces[i]
		if len(indexes) > 1 && !a.violates(v, p) {
			continue
		}
		alone = append(alone, i)
		was := p.predecessors(a.survey.earlier.places[p.place()], a.survey.now.places[p.place()])
		if !slices.ContainsFunc(was, func(b piece) bool { return len(a.checkOld(v, []piece{b})) > 0 }) {
			fresh = append(fresh, i)
		}
	}
	if len(alone) == 0 {
		problems[0].Before = len(a.was) > 0 && slices.Contains(a.checkOld(v, a.survey.earlier.at(a.was)), problems[0])
		if problems[0].Failed { // Admission would not be asked about so much at once.
			problems[0].Severity = rulesv1alpha1.SeverityAudit
			problems[0].Message = fmt.Sprintf("the rule can be evaluated for each of these %d routes and listeners, but not for all together: %s",
				len(indexes), problems[0].Message)
		}
		return problems, indexes
	}
	told := fresh
	if len(fresh) == 0 {
		told = alone
	}
	if len(told) < len(indexes) {
		problems = a.check(v, a.survey.now.at(told))
	}
	for i := range problems {
		problems[i].Before, problems[i].At = len(fresh) == 0, a.at(told[0])
	}
	return problems, alone
}

// check evaluates a requirement as if only some pieces were there.
func (a *asked) check(v *validation, pieces []piece) []violation {
	values, b := a.with(pieces)
	return a.rule.require(v, b, values)
}

// violates reports whether a piece violates a requirement alone.
func (a *asked) violates(v *validation, p piece) bool {
	values, b := a.with([]piece{p})
	met, err := a.rule.holds(v, b, values)
	return !met && (err == nil || a.rule.spec.FailurePolicy != rulesv1alpha1.FailurePolicyIgnore)
}

// checkOld is check for the object as it was before.
func (a *asked) checkOld(v *validation, pieces []piece) []violation {
	b := &budget{ctx: a.ctx, left: celconfig.RuntimeCELCostBudget}
	old := a.in.before().values(a.values[varParams])
	return a.rule.require(v, b, (&lone{rule: a.rule, budget: b, values: old}).with(pieces))
}

func (a *asked) with(pieces []piece) (map[string]any, *budget) {
	b := &budget{ctx: a.ctx, left: celconfig.RuntimeCELCostBudget}
	return (&lone{rule: a.rule, budget: b, values: a.values}).with(pieces), b
}

// at is where the object has a piece; empty if it does not have it.
func (a *asked) at(index int) string {
	p, own := a.survey.now.pieces[index], a.in.Resource.Kind+"/"+a.in.Request.Namespace+"/"+a.in.Request.Name
	if p.rule != nil {
		if p.route != own {
			return ""
		}
		return fmt.Sprintf("spec.rules[%d]", p.rule.Rule)
	}
	spec, _ := a.in.Object["spec"].(map[string]any)
	listeners, _ := spec["listeners"].([]any)
	at := slices.IndexFunc(listeners, func(l any) bool {
		listener, _ := l.(map[string]any)
		return listener["name"] == p.name
	})
	if p.owner != own || at < 0 {
		return ""
	}
	return fmt.Sprintf("spec.listeners[%d]", at)
}
