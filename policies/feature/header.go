package feature

import (
	"slices"
	"strings"

	"gatehouse/policies/verdict"
)

// messageHeaders frame a message, belong to one connection or route a request (RFC 9110, sections 7.2, 7.6 and 8.6; RFC
// 9112, section 6). Whoever changes one behind the back of the HTTP codec has both sides disagree on where a message
// ends or whom it is for.
var messageHeaders = []string{
	"connection", "content-length", "host", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding",
	"upgrade",
}

// MessageHeaders are the headers, in lower case, that are about a message itself, its connection or its host. No filter
// may set, add, remove or copy one.
func MessageHeaders() []string { return slices.Clone(messageHeaders) }

// IsMessageHeader reports whether a header, in whatever case, is one of MessageHeaders.
func IsMessageHeader(name string) bool { return slices.Contains(messageHeaders, strings.ToLower(name)) }

// CheckHeaderChange finds a header that nobody may set, add or remove, or that cannot exist.
func CheckHeaderChange(field, name string) []verdict.Problem {
	switch {
	case strings.EqualFold(name, "host"):
		return []verdict.Problem{Invalid(field, "header %q cannot be modified: leave it out; "+
			"in an HTTPRoute, a filter of type URLRewrite with hostname gives the backend another host", name)}
	case IsMessageHeader(name):
		return []verdict.Problem{Invalid(field,
			"header %q cannot be modified, since it says where a message ends or how its connection is used: leave it out",
			name)}
	}
	return CheckHeaderName(field, name)
}

// CheckHeaderValue finds a value that no header may have: one with control characters other than the tab (RFC 9110,
// section 5.5).
func CheckHeaderValue(field, name, value string) []verdict.Problem {
	if !strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		return nil
	}
	return []verdict.Problem{Invalid(field,
		"%q as the value of header %q has a line break or another control character, which no header may have: write the value in one line", value, name)}
}
