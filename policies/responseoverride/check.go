package responseoverride

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/utils/ptr"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// Limits of the lists.
const (
	maxOverrides = 64
	maxCodes     = 50
	maxHeaders   = 16
)

func check(spec *v1alpha1.BackendTrafficPolicySpec) (problems []verdict.Problem) {
	if n := len(spec.ResponseOverride); n > maxOverrides {
		return []verdict.Problem{feature.Invalid(field, "%d entries are too many: write at most %d", n, maxOverrides)}
	}
	for i, o := range spec.ResponseOverride {
		at := fmt.Sprintf("%s[%d]", field, i)
		if o == nil {
			problems = append(problems, feature.Invalid(at, "it is null: write match, and response or redirect, or remove it"))
			continue
		}
		problems = append(problems, checkMatch(at+".match", &o.Match)...)
		if (o.Response == nil) == (o.Redirect == nil) {
			problems = append(problems, feature.Invalid(at, "a response is replaced by one thing: set response or redirect"))
			continue
		}
		problems = append(problems, checkResponse(at+".response", o.Response)...)
		problems = append(problems, checkBodiless(at+".response.body", o)...)
		problems = append(problems, checkRedirect(at+".redirect", o.Redirect)...)
		if o.Source != nil {
			problems = append(problems, feature.CheckChoice(at+".source", *o.Source, sources)...)
		}
	}
	return problems
}

func checkMatch(at string, m *v1alpha1.CustomResponseMatch) (problems []verdict.Problem) {
	if len(m.StatusCodes) == 0 && len(m.ResponseHeaders) == 0 {
		return []verdict.Problem{feature.Invalid(at, "nothing says which responses are meant: set statusCodes or responseHeaders")}
	}
	if n := len(m.StatusCodes); n > maxCodes {
		return []verdict.Problem{feature.Invalid(at+".statusCodes", "%d entries are too many: write at most %d", n, maxCodes)}
	}
	if n := len(m.ResponseHeaders); n > maxHeaders {
		return []verdict.Problem{feature.Invalid(at+".responseHeaders", "%d entries are too many: write at most %d", n, maxHeaders)}
	}
	for i := range m.StatusCodes {
		problems = append(problems, checkCode(fmt.Sprintf("%s.statusCodes[%d]", at, i), &m.StatusCodes[i])...)
	}
	for i := range m.ResponseHeaders {
		header := fmt.Sprintf("%s.responseHeaders[%d]", at, i)
		problems = append(problems, feature.CheckHeaderName(header+".name", m.ResponseHeaders[i].Name)...)
		problems = append(problems, feature.CheckStringMatch(header+".value", &m.ResponseHeaders[i].Value)...)
	}
	return problems
}

var codeTypes = map[v1alpha1.StatusCodeValueType]bool{
	v1alpha1.StatusCodeValueTypeValue: true, v1alpha1.StatusCodeValueTypeRange: true,
}

func checkCode(at string, c *v1alpha1.StatusCodeMatch) []verdict.Problem {
	kind := ptr.Deref(c.Type, v1alpha1.StatusCodeValueTypeValue)
	problems := feature.CheckChoice(at+".type", kind, codeTypes)
	known := func(part string, code int) []verdict.Problem {
		if code >= leastCode && code <= lastCode {
			return nil
		}
		return []verdict.Problem{feature.Invalid(at+part, "%d is not a status code: write one from %d to %d", code, leastCode, lastCode)}
	}
	switch isRange := kind == v1alpha1.StatusCodeValueTypeRange; {
	case len(problems) > 0:
	case isRange && c.Range == nil:
		problems = []verdict.Problem{feature.Invalid(at, "type Range needs range: set it")}
	case isRange:
		problems = slices.Concat(known(".range.start", c.Range.Start), known(".range.end", c.Range.End))
		if c.Range.End <= c.Range.Start {
			problems = append(problems, feature.Invalid(at+".range.end", "%d is not above start, which is %d: change one of both",
				c.Range.End, c.Range.Start))
		}
	case c.Value == nil:
		problems = []verdict.Problem{feature.Invalid(at, "type Value needs value: set it")}
	default:
		problems = known(".value", *c.Value)
		if c.Range != nil {
			problems = append(problems, feature.WithoutEffect(at+".range", feature.ReasonOtherType,
				"the type is Value: remove range, or write type Range"))
		}
	}
	if kind == v1alpha1.StatusCodeValueTypeRange && c.Value != nil {
		problems = append(problems, feature.WithoutEffect(at+".value", feature.ReasonOtherType,
			"the type is Range: remove value, or write type Value"))
	}
	return problems
}

func checkResponse(at string, r *v1alpha1.CustomResponse) (problems []verdict.Problem) {
	if r == nil {
		return nil
	}
	if code := r.StatusCode; code != nil {
		problems = append(problems, feature.CheckStatus(at+".statusCode", *code)...)
	}
	problems = append(problems, feature.CheckResponseHeaders(at, r.ContentType, r.Header)...)
	return append(problems, feature.CheckBody(at+".body", r.Body)...)
}

// checkBodiless finds a body for status codes that have none. Codes of ranges are left out of the match (predicate).
func checkBodiless(at string, o *v1alpha1.ResponseOverride) []verdict.Problem {
	if o.Response == nil {
		return nil
	}
	if code := o.Response.StatusCode; code != nil {
		return feature.CheckNoBody(at, *code, o.Response.Body)
	}
	for _, c := range o.Match.StatusCodes {
		if c.Value == nil || ptr.Deref(c.Type, v1alpha1.StatusCodeValueTypeValue) != v1alpha1.StatusCodeValueTypeValue {
			continue
		}
		if problems := feature.CheckNoBody(at, *c.Value, o.Response.Body); len(problems) > 0 {
			return problems
		}
	}
	return nil
}

func checkRedirect(at string, r *v1alpha1.CustomRedirect) (problems []verdict.Problem) {
	if r == nil {
		return nil
	}
	if r.Hostname == nil && r.Path == nil {
		return []verdict.Problem{feature.Invalid(at, "nothing says where Envoy asks for the response: set hostname or path")}
	}
	if s := r.Scheme; s != nil && *s != "http" && *s != "https" {
		problems = append(problems, feature.Invalid(at+".scheme", "%q is not known: write http or https", *s))
	}
	if code := ptr.Deref(r.StatusCode, defaultRedirect); code != 301 && code != 302 {
		problems = append(problems, feature.Invalid(at+".statusCode", "%d is not known: write 301 or 302", code))
	}
	if p := r.Port; p != nil && (*p < 1 || *p > 65535) {
		problems = append(problems, feature.Invalid(at+".port", "%d is not a port: write a number from 1 to 65535", *p))
	}
	return append(problems, checkPath(at+".path", r.Path)...)
}

func checkPath(at string, path *gwapiv1.HTTPPathModifier) []verdict.Problem {
	if path == nil {
		return nil
	}
	if path.Type != gwapiv1.FullPathHTTPPathModifier {
		return []verdict.Problem{feature.Invalid(at+".type", "only a whole path can be written here: write type ReplaceFullPath")}
	}
	at += ".replaceFullPath"
	switch whole := ptr.Deref(path.ReplaceFullPath, ""); {
	case !strings.HasPrefix(whole, "/"):
		return []verdict.Problem{feature.Invalid(at, "%q is not a path: write one that begins with /", whole)}
	case strings.Contains(whole, "#"):
		return []verdict.Problem{feature.Invalid(at, "%q has a fragment, which no request has: remove it, with the #", whole)}
	default:
		return feature.CheckHeaderValue(at, ":path", whole)
	}
}
