package clientheaders

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	mutationrulesv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	earlyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"

	"k8s.io/utils/ptr"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// addition is one list of headers that get values.
type addition struct {
	field   string
	action  corev3.HeaderValueOption_HeaderAppendAction
	headers []v1alpha1.HTTPHeader
}

func additions(f *v1alpha1.HTTPHeaderFilter) []addition {
	return []addition{
		{"set", corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD, f.Set},
		{"add", corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD, f.Add},
		{"addIfAbsent", corev3.HeaderValueOption_ADD_IF_ABSENT, f.AddIfAbsent},
	}
}

// mutations are the changes of headers, as Envoy has them.
func mutations(f *v1alpha1.HTTPHeaderFilter) (out []*mutationrulesv3.HeaderMutation) {
	if f == nil {
		return nil
	}
	for _, list := range additions(f) {
		for _, h := range list.headers {
			out = append(out, &mutationrulesv3.HeaderMutation{Action: &mutationrulesv3.HeaderMutation_Append{
				Append: &corev3.HeaderValueOption{
					Header: &corev3.HeaderValue{Key: h.Name, Value: h.Value}, AppendAction: list.action,
					KeepEmptyValue: h.Value == "",
				},
			}})
		}
	}
	for _, name := range f.Remove {
		out = append(out, &mutationrulesv3.HeaderMutation{Action: &mutationrulesv3.HeaderMutation_Remove{Remove: name}})
	}
	for i := range f.RemoveOnMatch {
		out = append(out, &mutationrulesv3.HeaderMutation{Action: &mutationrulesv3.HeaderMutation_RemoveOnMatch_{
			RemoveOnMatch: &mutationrulesv3.HeaderMutation_RemoveOnMatch{KeyMatcher: feature.StringMatcher(&f.RemoveOnMatch[i])},
		}})
	}
	return out
}

func early(changes []*mutationrulesv3.HeaderMutation) *corev3.TypedExtensionConfig {
	return feature.Extension("envoy.http.early_header_mutation.header_mutation", &earlyv3.HeaderMutation{Mutations: changes})
}

// late is an HTTP filter before all others, so that it is the last one for responses.
func late(changes []*mutationrulesv3.HeaderMutation) *hcmv3.HttpFilter {
	const name = "envoy.filters.http.header_mutation"
	return &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{
		TypedConfig: feature.Any(&mutationv3.HeaderMutation{Mutations: &mutationv3.Mutations{ResponseMutations: changes}}),
	}}
}

const maxChanges = 64

func checkChanges(field string, f *v1alpha1.HTTPHeaderFilter) (problems []verdict.Problem) {
	if f == nil {
		return nil
	}
	most := func(list string, n int) {
		if n > maxChanges {
			problems = append(problems, feature.Invalid(field+"."+list, "it has %d entries: write at most %d", n, maxChanges))
		}
	}
	for _, list := range additions(f) {
		most(list.field, len(list.headers))
		for i, h := range list.headers {
			at := fmt.Sprintf("%s.%s[%d]", field, list.field, i)
			problems = append(problems, feature.CheckHeaderChange(at+".name", h.Name)...)
			problems = append(problems, feature.CheckHeaderValue(at+".value", h.Name, h.Value)...)
			problems = append(problems, checkCommands(at+".value", h.Value)...)
		}
	}
	most("remove", len(f.Remove))
	for i, name := range f.Remove {
		problems = append(problems, feature.CheckHeaderChange(fmt.Sprintf("%s.remove[%d]", field, i), name)...)
	}
	most("removeOnMatch", len(f.RemoveOnMatch))
	for i := range f.RemoveOnMatch {
		at := fmt.Sprintf("%s.removeOnMatch[%d]", field, i)
		wrong := feature.CheckStringMatch(at, &f.RemoveOnMatch[i])
		if len(wrong) == 0 {
			wrong = checkKept(at+".value", &f.RemoveOnMatch[i])
		}
		problems = append(problems, wrong...)
	}
	return problems
}

// pseudo are the parts of a message that HTTP/2, and Envoy for any HTTP, has among the headers.
var pseudo = []string{":method", ":path", ":authority", ":scheme", ":status", ":protocol"}

// checkKept finds a match that removes what a message cannot be without.
func checkKept(field string, m *v1alpha1.StringMatch) []verdict.Problem {
	for _, name := range slices.Concat(pseudo, feature.MessageHeaders()) {
		if matches(m, name) {
			return []verdict.Problem{feature.Invalid(field, "%q matches %q, which cannot be removed: write a match for fewer names",
				m.Value, name)}
		}
	}
	return nil
}

func matches(m *v1alpha1.StringMatch, name string) bool {
	switch ptr.Deref(m.Type, v1alpha1.StringMatchExact) {
	case v1alpha1.StringMatchPrefix:
		return strings.HasPrefix(name, m.Value)
	case v1alpha1.StringMatchSuffix:
		return strings.HasSuffix(name, m.Value)
	case v1alpha1.StringMatchRegularExpression:
		expression, err := regexp.Compile("^(?:" + m.Value + ")$")
		return err != nil || expression.MatchString(name)
	}
	return m.Value == name
}

// commands are those of Envoy that say something about a request, its connection or its response, and take no arguments
// or those of a header.
var commands = regexp.MustCompile(`%(?:%|(?:PROTOCOL|RESPONSE_CODE|REQUESTED_SERVER_NAME|HOSTNAME|CONNECTION_ID|` +
	`(?:DOWNSTREAM|UPSTREAM)_(?:REMOTE|LOCAL)_(?:ADDRESS|ADDRESS_WITHOUT_PORT|PORT)|` +
	`DOWNSTREAM_DIRECT_REMOTE_ADDRESS(?:_WITHOUT_PORT)?|` +
	`DOWNSTREAM_(?:PEER|LOCAL)_(?:SUBJECT|ISSUER|URI_SAN|DNS_SAN)|DOWNSTREAM_PEER_(?:FINGERPRINT_256|FINGERPRINT_1|SERIAL|` +
	`CERT|CERT_V_START|CERT_V_END)|DOWNSTREAM_TLS_(?:VERSION|CIPHER|SESSION_ID)|TLS_JA[34]_FINGERPRINT|` +
	`START_TIME|UPSTREAM_HOST|UPSTREAM_CLUSTER|ROUTE_NAME|(?:REQ|RESP)\([A-Za-z0-9:?_-]+\)(?::[0-9]{1,4})?)%)`)

// checkCommands finds a percent sign that begins no command.
func checkCommands(field, value string) []verdict.Problem {
	if !strings.Contains(commands.ReplaceAllString(value, ""), "%") {
		return nil
	}
	return []verdict.Problem{feature.Invalid(field, "%q has a percent sign that begins no command that is known here: write two "+
		"for one percent sign, or a command such as %%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%% or %%REQ(name)%%", value)}
}
