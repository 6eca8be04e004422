package feature

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"gatehouse/policies/verdict"
)

// operator is what looks like a command operator of Envoy, such as %REQ(X-USER):10%, or an escaped percent sign.
var operator = regexp.MustCompile(`%%|%([A-Z][A-Z0-9_]*)(\([^()%]*\))?(:[0-9]{1,4})?%`)

// header is the argument of an operator for headers: a name, and another one for when the header is missing.
var header = regexp.MustCompile(`^\(:?[A-Za-z0-9_-]+(\?:?[A-Za-z0-9_-]+)?\)$`)

// operators are the command operators that texts of users may have, each with the form of its argument, nil for none.
// Others would tell what belongs to Envoy, such as its environment and its files.
var operators = map[string]*regexp.Regexp{
	"REQ": header, "RESP": header,
	"RESPONSE_CODE": nil, "RESPONSE_CODE_DETAILS": nil, "RESPONSE_FLAGS": nil, "LOCAL_REPLY_BODY": nil,
	"PROTOCOL": nil, "START_TIME": nil, "DURATION": nil, "ROUTE_NAME": nil,
	"DOWNSTREAM_REMOTE_ADDRESS": nil, "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": nil, "REQUESTED_SERVER_NAME": nil,
	"STREAM_ID": nil, "TRACE_ID": nil,
}

// Format returns a text of users, with command operators, as Envoy reads it: percent signs that belong to no operator
// are escaped. It returns an error for an operator that may not be used.
func Format(text string) (string, error) {
	var out strings.Builder
	last := 0
	for _, at := range operator.FindAllStringSubmatchIndex(text, -1) {
		out.WriteString(strings.ReplaceAll(text[last:at[0]], "%", "%%"))
		last = at[1]
		found := text[at[0]:at[1]]
		out.WriteString(found)
		if found == "%%" {
			continue
		}
		argument := ""
		if at[4] >= 0 {
			argument = text[at[4]:at[5]]
		}
		form, known := operators[text[at[2]:at[3]]]
		if !known || form == nil && argument != "" || form != nil && !form.MatchString(argument) {
			return "", fmt.Errorf("%q is no command operator that can be used here: write %s, or %%%% for a percent sign", found,
				verdict.Or(written()))
		}
	}
	out.WriteString(strings.ReplaceAll(text[last:], "%", "%%"))
	return out.String(), nil
}

// written are the operators as users write them.
func written() (all []string) {
	for _, name := range slices.Sorted(maps.Keys(operators)) {
		if operators[name] != nil {
			name += "(name)"
		}
		all = append(all, "%"+name+"%")
	}
	return all
}
