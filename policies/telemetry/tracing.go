package telemetry

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tracingv3 "github.com/envoyproxy/go-control-plane/envoy/type/tracing/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"k8s.io/utils/ptr"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// Limits of tags and of the names of spans.
const (
	maxTags  = 64
	maxName  = 253
	maxValue = 1024
)

// variable is the name of a variable of the environment.
var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,252}$`)

// reasonNoTracer is the reason of condition FieldsEffective if no Envoy sends spans.
const reasonNoTracer = "NoTracingProvider"

func checkTracing(t *v1alpha1.Tracing) (problems []verdict.Problem) {
	for _, f := range []struct {
		field    string
		fraction *gwapiv1.Fraction
	}{
		{"samplingFraction", t.SamplingFraction},
		{"clientSamplingFraction", t.ClientSamplingFraction},
		{"overallSamplingFraction", t.OverallSamplingFraction},
	} {
		if f.fraction != nil {
			problems = append(problems, feature.CheckFraction(tracing+"."+f.field, f.fraction)...)
		}
	}
	problems = append(problems, checkCount("tags", len(t.Tags))...)
	problems = append(problems, checkCount("customTags", len(t.CustomTags))...)
	for _, tag := range slices.Sorted(maps.Keys(t.Tags)) {
		field := tracing + ".tags[" + tag + "]"
		problems = slices.Concat(problems, checkTagName(field, tag), checkFormat(field, t.Tags[tag], maxValue))
	}
	for _, tag := range slices.Sorted(maps.Keys(t.CustomTags)) {
		field := tracing + ".customTags[" + tag + "]"
		problems = slices.Concat(problems, checkTagName(field, tag), checkCustom(field, new(t.CustomTags[tag])))
	}
	if s := t.SpanName; s != nil {
		problems = slices.Concat(problems, checkFormat(tracing+".spanName.client", s.Client, maxName),
			checkFormat(tracing+".spanName.server", s.Server, maxName))
	}
	if len(problems) == 0 {
		problems = []verdict.Problem{feature.WithoutEffect(tracing, reasonNoTracer,
			"no Envoy sends spans, because telemetry of EnvoyProxy is not served yet, so this has no effect: leave it out")}
	}
	return problems
}

func checkCount(field string, n int) []verdict.Problem {
	if n <= maxTags {
		return nil
	}
	return []verdict.Problem{feature.Invalid(tracing+"."+field, "there are %d tags: write up to %d", n, maxTags)}
}

func checkTagName(field, tag string) []verdict.Problem {
	return checkText(field, "name of a tag", tag, maxName)
}

// checkText finds what is empty or too long, and control characters.
func checkText(field, what, text string, most int) []verdict.Problem {
	switch {
	case text == "":
		return []verdict.Problem{feature.Invalid(field, "the %s is empty: write one", what)}
	case len(text) > most:
		return []verdict.Problem{feature.Invalid(field, "the %s has %d bytes: write up to %d", what, len(text), most)}
	case strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return []verdict.Problem{feature.Invalid(field, "%q as the %s has a line break or another control character: leave it out",
			text, what)}
	}
	return nil
}

// checkFormat finds what is no text with command operators.
func checkFormat(field, text string, most int) []verdict.Problem {
	if problems := checkText(field, "text", text, most); len(problems) > 0 {
		return problems
	}
	if _, err := feature.Format(text); err != nil {
		return []verdict.Problem{feature.Invalid(field, "%v", err)}
	}
	return nil
}

// checkCustom checks the part of a tag that its type names.
func checkCustom(field string, tag *v1alpha1.CustomTag) []verdict.Problem {
	missing := func(member string) []verdict.Problem {
		return []verdict.Problem{feature.Invalid(field, "type is %s, so %s must be set", typeOf(tag), member)}
	}
	switch typeOf(tag) {
	case v1alpha1.CustomTagTypeLiteral:
		if tag.Literal == nil {
			return missing("literal")
		}
		return checkText(field+".literal.value", "value", tag.Literal.Value, maxValue)
	case v1alpha1.CustomTagTypeEnvironment:
		if tag.Environment == nil {
			return missing("environment")
		}
		if name := tag.Environment.Name; !variable.MatchString(name) {
			return []verdict.Problem{feature.Invalid(field+".environment.name",
				"%q cannot be the name of a variable: use up to 253 letters, digits and underscores, and no digit at the beginning", name)}
		}
		return checkDefault(field+".environment.defaultValue", tag.Environment.DefaultValue)
	case v1alpha1.CustomTagTypeRequestHeader:
		if tag.RequestHeader == nil {
			return missing("requestHeader")
		}
		return slices.Concat(checkText(field+".requestHeader.name", "name", tag.RequestHeader.Name, maxName),
			feature.CheckHeaderName(field+".requestHeader.name", tag.RequestHeader.Name),
			checkDefault(field+".requestHeader.defaultValue", tag.RequestHeader.DefaultValue))
	}
	return feature.CheckChoice(field+".type", tag.Type, types)
}

var types = map[v1alpha1.CustomTagType]bool{
	v1alpha1.CustomTagTypeLiteral: true, v1alpha1.CustomTagTypeEnvironment: true, v1alpha1.CustomTagTypeRequestHeader: true,
}

func typeOf(tag *v1alpha1.CustomTag) v1alpha1.CustomTagType {
	if tag.Type == "" {
		return v1alpha1.CustomTagTypeLiteral
	}
	return tag.Type
}

func checkDefault(field string, value *string) []verdict.Problem {
	if value == nil || *value == "" {
		return nil
	}
	return checkText(field, "value", *value, maxValue)
}

// spans says what Envoy does with the spans of a route. The fractions are written even if they are the defaults, because
// a route does not have those of the connection manager.
func spans(t *v1alpha1.Tracing) *routev3.Tracing {
	out := &routev3.Tracing{
		ClientSampling:  portion(t.ClientSamplingFraction, 0),
		RandomSampling:  portion(t.SamplingFraction, 100),
		OverallSampling: portion(t.OverallSamplingFraction, 100),
		CustomTags:      tags(t),
	}
	if s := t.SpanName; s != nil {
		out.Operation, out.UpstreamOperation = format(s.Server), format(s.Client)
	}
	return out
}

// portion is a fraction as Envoy has it, or a number of hundredths if there is none.
func portion(f *gwapiv1.Fraction, percent int32) *typev3.FractionalPercent {
	if f == nil {
		f = &gwapiv1.Fraction{Numerator: percent}
	}
	return feature.Portion(f)
}

// tags are the tags, sorted by their names.
func tags(t *v1alpha1.Tracing) (tags []*tracingv3.CustomTag) {
	all := map[string]*tracingv3.CustomTag{}
	for name, tag := range t.CustomTags {
		all[name] = custom(name, &tag)
	}
	for name, value := range t.Tags {
		all[name] = &tracingv3.CustomTag{Tag: name, Type: &tracingv3.CustomTag_Value{Value: format(value)}}
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		tags = append(tags, all[name])
	}
	return tags
}

func custom(name string, tag *v1alpha1.CustomTag) *tracingv3.CustomTag {
	out := &tracingv3.CustomTag{Tag: name}
	switch typeOf(tag) {
	case v1alpha1.CustomTagTypeLiteral:
		out.Type = &tracingv3.CustomTag_Literal_{Literal: &tracingv3.CustomTag_Literal{Value: tag.Literal.Value}}
	case v1alpha1.CustomTagTypeEnvironment:
		out.Type = &tracingv3.CustomTag_Environment_{Environment: &tracingv3.CustomTag_Environment{
			Name: tag.Environment.Name, DefaultValue: ptr.Deref(tag.Environment.DefaultValue, ""),
		}}
	case v1alpha1.CustomTagTypeRequestHeader:
		out.Type = &tracingv3.CustomTag_RequestHeader{RequestHeader: &tracingv3.CustomTag_Header{
			Name: tag.RequestHeader.Name, DefaultValue: ptr.Deref(tag.RequestHeader.DefaultValue, ""),
		}}
	}
	return out
}

// format is a text as Envoy reads it; it was checked.
func format(text string) string {
	formatted, _ := feature.Format(text)
	return formatted
}
