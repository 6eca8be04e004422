package feature

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"k8s.io/utils/ptr"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/verdict"
)

// MaxBody is how long the body of a response may be, in bytes. Longer ones are not read from ConfigMaps with one key.
const MaxBody = MaxOnly

// BodyKey is where bodies of responses are. A ConfigMap with one key may have another one.
var BodyKey = ContentKey{Kind: "ConfigMap", Key: "response.body"}

// CheckStatus finds a status code that no response can have.
func CheckStatus(at string, code int) []verdict.Problem {
	if code >= http.StatusOK && code <= 599 {
		return nil
	}
	return []verdict.Problem{Invalid(at, "%d cannot be the status code of a response: write one from 200 to 599", code)}
}

// Bodiless reports whether responses with a status code have no body (RFC 9110, sections 15.3.5 and 15.4.5). Envoy would
// send one, which clients read as the next response.
func Bodiless(code int) bool { return code == http.StatusNoContent || code == http.StatusNotModified }

// CheckNoBody finds a body of a response whose status code allows none. At is the field of the body.
func CheckNoBody(at string, code int, b *v1alpha1.CustomResponseBody) []verdict.Problem {
	if b == nil || !Bodiless(code) {
		return nil
	}
	return []verdict.Problem{Invalid(at, "a response with status code %d has no body: remove the body, or write another statusCode", code)}
}

// CheckResponseHeaders finds what is wrong with the headers of a response: its content type, and those that are set or
// added. Values may have command operators.
func CheckResponseHeaders(at string, contentType *string, h *gwapiv1.HTTPHeaderFilter) (problems []verdict.Problem) {
	if contentType != nil {
		problems = append(problems, checkFormat(at+".contentType", "content-type", *contentType)...)
	}
	if h == nil {
		return problems
	}
	if len(h.Remove) > 0 {
		problems = append(problems, Invalid(at+".header.remove", "headers cannot be removed here: leave remove out"))
	}
	if contentType != nil && slices.ContainsFunc(h.Set, func(h gwapiv1.HTTPHeader) bool {
		return strings.EqualFold(string(h.Name), "content-type")
	}) {
		problems = append(problems, WithoutEffect(at+".contentType", "SetByHeader",
			"header.set has Content-Type too, which wins: remove one of both"))
	}
	for _, list := range []struct {
		name    string
		headers []gwapiv1.HTTPHeader
	}{{"set", h.Set}, {"add", h.Add}} {
		for i, h := range list.headers {
			entry := fmt.Sprintf("%s.header.%s[%d]", at, list.name, i)
			problems = append(problems, CheckHeaderChange(entry+".name", string(h.Name))...)
			problems = append(problems, checkFormat(entry+".value", string(h.Name), h.Value)...)
		}
	}
	return problems
}

// checkFormat finds what is wrong with the value of a header, which may have command operators.
func checkFormat(at, name, value string) []verdict.Problem {
	problems := CheckHeaderValue(at, name, value)
	if _, err := Format(value); err != nil {
		problems = append(problems, Invalid(at, "%v", err))
	}
	return problems
}

// ResponseHeaders are the headers that CheckResponseHeaders has checked.
func ResponseHeaders(contentType *string, h *gwapiv1.HTTPHeaderFilter) (options []*corev3.HeaderValueOption) {
	option := func(name, value string, action corev3.HeaderValueOption_HeaderAppendAction) {
		text, _ := Format(value) // CheckResponseHeaders has read it.
		options = append(options, &corev3.HeaderValueOption{
			Header: &corev3.HeaderValue{Key: name, Value: text}, AppendAction: action, KeepEmptyValue: text == "",
		})
	}
	if contentType != nil {
		option("content-type", *contentType, corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD)
	}
	if h == nil {
		return options
	}
	for _, h := range h.Set {
		option(string(h.Name), h.Value, corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD)
	}
	for _, h := range h.Add {
		option(string(h.Name), h.Value, corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD)
	}
	return options
}

var bodyTypes = map[v1alpha1.ResponseValueType]bool{
	v1alpha1.ResponseValueTypeInline: true, v1alpha1.ResponseValueTypeValueRef: true,
}

// ReasonOtherType is the reason of a field that is not read, because the type of the object it is in reads another one.
const ReasonOtherType = "OtherType"

// CheckBody finds what is wrong with the body of a response.
func CheckBody(at string, b *v1alpha1.CustomResponseBody) []verdict.Problem {
	if b == nil {
		return nil
	}
	kind := ptr.Deref(b.Type, v1alpha1.ResponseValueTypeInline)
	switch problems := CheckChoice(at+".type", kind, bodyTypes); {
	case len(problems) > 0:
		return problems
	case kind == v1alpha1.ResponseValueTypeValueRef && b.ValueRef == nil:
		return []verdict.Problem{Invalid(at, "type ValueRef needs valueRef: set it")}
	case kind == v1alpha1.ResponseValueTypeValueRef && b.Inline != nil:
		return []verdict.Problem{WithoutEffect(at+".inline", ReasonOtherType, "the type is ValueRef: remove inline, or write type Inline")}
	case kind == v1alpha1.ResponseValueTypeValueRef:
		return nil
	case b.Inline == nil:
		return []verdict.Problem{Invalid(at, "type Inline needs inline: set it")}
	}
	if err := checkBodyText([]byte(*b.Inline)); err != nil {
		return []verdict.Problem{Invalid(at+".inline", "the body %v", err)}
	}
	if b.ValueRef != nil {
		return []verdict.Problem{WithoutEffect(at+".valueRef", ReasonOtherType, "the type is Inline: remove valueRef, or write type ValueRef")}
	}
	return nil
}

// checkBodyText returns an error if a body cannot be sent. Its text fits behind the name of the body.
func checkBodyText(text []byte) error {
	if len(text) > MaxBody {
		return fmt.Errorf("has %d bytes: write at most %d", len(text), MaxBody)
	}
	if !utf8.Valid(text) {
		return errors.New("is not text in UTF-8: write text")
	}
	if _, err := Format(string(text)); err != nil {
		return fmt.Errorf("cannot be sent: %w", err)
	}
	return nil
}

// BodyNeeds is the ConfigMap that a body is in, if it is in one. At is the field of the body.
func BodyNeeds(at string, b *v1alpha1.CustomResponseBody) []Need {
	ref := bodyReference(b)
	if ref == nil {
		return nil
	}
	return []Need{{Field: at + ".valueRef", Content: &Content{
		ContentKey: BodyKey, Only: true, Group: string(ref.Group), RefKind: string(ref.Kind), Name: string(ref.Name),
		Check: func(text []byte) error {
			if len(text) == 0 {
				return errors.New("is empty: write the body")
			}
			return checkBodyText(text)
		},
	}}}
}

// bodyReference is what has a body, nil if the body is in the object itself or there is none.
func bodyReference(b *v1alpha1.CustomResponseBody) *gwapiv1.LocalObjectReference {
	if b == nil || ptr.Deref(b.Type, "") != v1alpha1.ResponseValueTypeValueRef {
		return nil
	}
	return b.ValueRef
}

// Body is the text of a body as Envoy reads it, empty if there is none. At is the field of the body.
func Body(at string, b *v1alpha1.CustomResponseBody, have Have) string {
	var text string
	if bodyReference(b) != nil {
		text = string(have.Content[at+".valueRef"])
	} else if b != nil {
		text = ptr.Deref(b.Inline, "")
	}
	text, _ = Format(text) // CheckBody and the need have read it.
	return text
}

// BodyFormat is a text of Body as Envoy has it in a response.
func BodyFormat(text string) *corev3.SubstitutionFormatString {
	return &corev3.SubstitutionFormatString{Format: &corev3.SubstitutionFormatString_TextFormatSource{
		TextFormatSource: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: text}},
	}}
}
