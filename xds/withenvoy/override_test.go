package withenvoy

import (
	"net/http"
	"testing"
)

// overriding is the spec of a policy that replaces responses.
const overriding = `
  rateLimit: {local: {rules: [{clientSelectors: [{headers: [{name: x-closed, value: "yes"}]}], limit: {requests: 0, unit: Year}}]}}
  responseOverride:
  - match: {statusCodes: [{value: 404}]}
    response: {contentType: text/html, statusCode: 410, body: {inline: "Gone: %REQ(:METHOD)% %RESPONSE_CODE% 5 %"}, header: {set: [{name: x-code, value: "%RESPONSE_CODE%"}]}}
  - match: {statusCodes: [{type: Range, range: {start: 501, end: 511}}]}
    response: {body: {type: ValueRef, valueRef: {group: "", kind: ConfigMap, name: page}}}
  - match: {statusCodes: [{value: 512}]}
    response: {body: {type: ValueRef, valueRef: {group: "", kind: ConfigMap, name: only}}}
  - match: {statusCodes: [{value: 500}], responseHeaders: [{name: x-error, value: {type: Prefix, value: bro}}]}
    response: {statusCode: 502}
  - match: {statusCodes: [{value: 429}]}
    source: Local
    response: {body: {inline: "Too many: %RESPONSE_CODE% %RESPONSE_CODE_DETAILS%"}}
  - match: {statusCodes: [{value: 403}]}
    source: Backend
    redirect: {hostname: plain.test, path: {type: ReplaceFullPath, replaceFullPath: "/short?"}}
  - match: {statusCodes: [{value: 406}]}
    source: Local
    redirect: {path: {type: ReplaceFullPath, replaceFullPath: "/short?"}}
  - match: {statusCodes: [{value: 407}]}
    redirect: {path: {type: ReplaceFullPath, replaceFullPath: "/short?"}, statusCode: 301}
  - match: {statusCodes: [{value: 408}]}
    redirect: {hostname: nowhere.example}
  - match: {responseHeaders: [{name: x-error, value: {value: "empty"}}]}
    response: {body: {inline: "not empty"}}
  - match: {statusCodes: [{value: 409}]}
    source: Backend
    response: {body: {inline: "of the policy"}}
  - match: {statusCodes: [{value: 405}]}
    source: Local
    response: {body: {inline: "not of Envoy"}}
`

// overrides asks for responses that are replaced, and for some that are not.
func overrides(t *testing.T, below string) {
	const own, short = "of the backend", "a short text, of few bytes"
	for _, tc := range []struct {
		path, closed string
		status       int
		kind, body   string
	}{
		{"/?status=200", "", 200, "text/plain", own},
		{"/?status=404", "", 410, "text/html", "Gone: POST 404 5 %"},
		{"/?status=500", "", 500, "text/plain", own},
		{"/?status=501", "", 501, "text/plain", "A page for 501, 100% sure."},
		{"/?status=511", "", 511, "text/plain", "A page for 511, 100% sure."},
		{"/?status=512", "", 512, "text/plain", "The only page."},
		{"/?status=500&error=broken", "", 502, "", ""},
		{"/?status=500&error=other", "", 500, "text/plain", own},
		{"/?status=429", "", 429, "text/plain", own},
		{"/?status=200", "yes", 429, "text/plain", "Too many: 429 local_rate_limited"},
		{"/?status=403", "", 200, "text/plain", short},
		{"/?status=405", "", 405, "text/plain", own},
		{"/?status=406", "", 406, "text/plain", own},
		{"/?status=407", "", 301, "text/plain", short},
		{"/?status=408", "", 408, "text/plain", own},
		{"/?status=204&error=empty", "", 204, "text/plain", ""},
		{"/?status=411&error=empty", "", 411, "text/plain", "not empty"},
		{"/?status=409", "", 409, "text/plain", "of the policy"},
	} {
		response := post(t, "override"+below, tc.path, nil, "X-Closed", tc.closed)
		if response.StatusCode != tc.status || response.Header.Get("Content-Type") != tc.kind {
			t.Errorf("%s (closed: %q): got %d with content type %q, want %d with %q", tc.path, tc.closed, response.StatusCode,
				response.Header.Get("Content-Type"), tc.status, tc.kind)
		}
		if got := read(t, response); got != tc.body {
			t.Errorf("%s (closed: %q): got the body %q, want %q", tc.path, tc.closed, got, tc.body)
		}
		if got := response.Header.Get("X-Code"); tc.status == http.StatusGone && got != "404" {
			t.Errorf("%s has the header %q, want the replaced status code", tc.path, got)
		}
		if _, kept := response.Header["X-Error"]; kept != (tc.body == own || tc.status == http.StatusNoContent) {
			t.Errorf("%s: that the response has headers of the replaced one is %v", tc.path, kept)
		}
	}
	early := stall(t, "POST /?status=403 HTTP/1.1\r\nHost: override"+below+"\r\nContent-Length: 10\r\n\r\nhalf")
	if early != http.StatusForbidden {
		t.Errorf("a redirect before the end of the request has status %d", early)
	}
}
