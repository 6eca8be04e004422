package feature

import (
	"fmt"
	"regexp"
	"strings"
)

// RouteName is what names of Envoy's statistics may have of a rule.
type RouteName struct {
	Kind, Namespace, Name string
	// Rule is the name of the rule, empty for none.
	Rule string
}

// statOperators are what templates of such names may have of a rule.
var statOperators = map[string]func(RouteName) string{
	"%ROUTE_KIND%":      func(n RouteName) string { return n.Kind },
	"%ROUTE_NAME%":      func(n RouteName) string { return n.Name },
	"%ROUTE_NAMESPACE%": func(n RouteName) string { return n.Namespace },
	"%ROUTE_RULE_NAME%": func(n RouteName) string {
		if n.Rule == "" {
			return "-"
		}
		return n.Rule
	},
}

var (
	statOperator = regexp.MustCompile(`%[^%]*%`)
	statText     = regexp.MustCompile(`^[A-Za-z0-9_./:|@=+-]*$`)
)

// maxStatName is the length of a template.
const maxStatName = 253

// ParseStatName returns an error for a template that is no name of a statistic. The way out is in the error.
func ParseStatName(template string) error {
	if len(template) > maxStatName {
		return fmt.Errorf("it has %d characters: write up to %d", len(template), maxStatName)
	}
	seen := map[string]bool{}
	for _, operator := range statOperator.FindAllString(template, -1) {
		if statOperators[operator] == nil {
			return fmt.Errorf("%q is not known here: write %%ROUTE_KIND%%, %%ROUTE_NAME%%, %%ROUTE_NAMESPACE%% or %%ROUTE_RULE_NAME%%",
				operator)
		}
		if seen[operator] {
			return fmt.Errorf("it has %s twice: write it once", operator)
		}
		seen[operator] = true
	}
	if rest := statOperator.ReplaceAllString(template, ""); !statText.MatchString(rest) {
		return fmt.Errorf("%q cannot be in the name of a statistic: use letters, digits and any of _ - . / : | @ = + only", rest)
	}
	return nil
}

// StatName is the name of a rule's statistics. Dots of what the rule has become underscores, because Envoy's labels for
// Prometheus end at a dot.
func StatName(template string, of RouteName) string {
	if template == "" {
		return "" // Nearly always.
	}
	return statOperator.ReplaceAllStringFunc(template, func(operator string) string {
		if value := statOperators[operator]; value != nil {
			return strings.ReplaceAll(value(of), ".", "_")
		}
		return operator
	})
}
