package rules

import (
	"fmt"
	"strconv"
	"strings"

	admissionregv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"gatehouse/policies/verdict"
)

// Policy is a rule in the form of a ValidatingAdmissionPolicy, which the API server evaluates by itself. It is what the
// chart contains of the policy's spec.
type Policy struct {
	// Name is that of the rule.
	Name          string                                   `json:"name"`
	ResourceRules []admissionregv1.NamedRuleWithOperations `json:"resourceRules"`
	Validations   []admissionregv1.Validation              `json:"validations"`
}

// Policies returns the built-in rules as ValidatingAdmissionPolicies. They decide what the rules decide, except that an
// object that violates a requirement already may violate it in other places too.
//
// Only requirements of weight Invalid become a part of them, because a policy has the same answer at all levels of
// admission that deny anything.
func Policies() ([]Policy, error) {
	rules, err := parseAll(builtinFiles())
	if err != nil {
		return nil, err
	}
	kinds, err := newKinds()
	if err != nil {
		return nil, err
	}
	var all []Policy
	for _, r := range rules {
		p := Policy{Name: r.Name}
		for _, k := range r.Kinds {
			p.ResourceRules = append(p.ResourceRules, resourceRule(kinds, k))
		}
		each, err := parseEach(r.Each)
		if err != nil {
			return nil, fmt.Errorf("rule %s: %w", r.Name, err)
		}
		for i := range r.Validations {
			if v := &r.Validations[i]; weights[v.Weight] == verdict.Invalid {
				for _, path := range each {
					p.Validations = append(p.Validations, r.toPolicy(v, path))
				}
			}
		}
		all = append(all, p)
	}
	return all, nil
}

// resourceRule matches the objects of a kind in all versions, when they are created or updated.
func resourceRule(kinds *runtime.Scheme, kind Kind) admissionregv1.NamedRuleWithOperations {
	rule := admissionregv1.NamedRuleWithOperations{}
	rule.Operations = []admissionregv1.OperationType{admissionregv1.Create, admissionregv1.Update}
	rule.APIGroups = []string{kind.Group}
	rule.Resources = []string{kind.Resource}
	for _, version := range kinds.VersionsForGroupKind(kind.groupKind()) {
		rule.APIVersions = append(rule.APIVersions, version.Version)
	}
	return rule
}

// toPolicy is a requirement for the items to which a path leads.
func (r *Rule) toPolicy(v *Validation, path steps) admissionregv1.Validation {
	now, before := query{rule: r, path: path, object: "object"}, query{rule: r, path: path, object: "oldObject"}
	field := strings.Trim(path.String()+"."+v.FieldPath, ".")
	message := strconv.Quote(v.Message)
	if v.MessageExpression != "" {
		message = now.first(now.object, path, v)
	}
	return admissionregv1.Validation{
		Expression: fmt.Sprintf("%s || oldObject != null && !(%s)", now.every(now.object, path, v),
			before.every(before.object, path, v)),
		MessageExpression: fmt.Sprintf("%s + (%s)", strconv.Quote(field+": "), message),
		Message:           field + " is wrong: " + r.About,
	}
}

// query writes CEL that goes along a path of a rule, in an object that the variable of a name has.
type query struct {
	rule   *Rule
	path   steps
	object string
}

// every is an expression that is true if a requirement holds for every item to which a path leads. From is the expression at which the path
// begins.
func (q query) every(from string, path steps, v *Validation) string {
	return q.along(from, path, "true",
		func(list, item string, _ steps, rest string) string {
			return fmt.Sprintf("%s.all(%s, %s)", list, item, rest)
		},
		func() string { return q.with(v.Expression, "%[2]s.all(%[1]s, %[3]s)") })
}

// first is the message for the first item to which a path leads that violates a requirement. There must be one.
func (q query) first(from string, path steps, v *Validation) string {
	return q.along(from, path, "''",
		func(list, item string, below steps, rest string) string {
			return fmt.Sprintf("[%s.filter(%s, !(%s))[0]].map(%s, %s)[0]", list, item, q.every(item, below, v), item, rest)
		},
		func() string { return q.with(v.MessageExpression, "%[2]s.map(%[1]s, %[3]s)[0]") })
}

// along goes along a path. Through is called for each list, with the name of its items and the path below them, and end
// at the items themselves. If a field is absent, the result is otherwise.
func (q query) along(from string, path steps, otherwise string, through func(list, item string, below steps,
	rest string) string, end func() string,
) string {
	at := from
	for i, s := range path {
		at += ".?" + s.field
		below, item := path[i+1:], "item"
		if len(below) > 0 {
			item = fmt.Sprintf("at%d", len(q.path)-len(below))
		}
		switch {
		case s.list && len(below) == 0:
			return through(at+".orValue([])", item, below, end())
		case s.list:
			return through(at+".orValue([])", item, below, q.along(item, below, otherwise, through, end))
		case len(below) == 0:
			return fmt.Sprintf("%s.optMap(%s, %s).orValue(%s)", at, item, end(), otherwise)
		}
	}
	return end()
}

// with evaluates an expression of the rule, in which self and variables are known. Bind is the form of an expression
// that gives the only element of a list a name.
func (q query) with(expression, bind string) string {
	expression = "(" + expression + ")"
	for i := len(q.rule.Variables) - 1; i >= 0; i-- {
		var values []string
		for _, earlier := range q.rule.Variables[:i] {
			values = append(values, fmt.Sprintf("%q: variables.%s", earlier.Name, earlier.Name))
		}
		values = append(values, fmt.Sprintf("%q: %s", q.rule.Variables[i].Name, q.rule.Variables[i].Expression))
		expression = fmt.Sprintf(bind, "variables", "[{"+strings.Join(values, ", ")+"}]", expression)
	}
	return fmt.Sprintf(bind, "self", "["+q.object+"]", expression)
}

// String is the path as rules write it.
func (s steps) String() string {
	parts := make([]string, len(s))
	for i, step := range s {
		parts[i] = step.field
		if step.list {
			parts[i] += "[*]"
		}
	}
	return strings.Join(parts, ".")
}
