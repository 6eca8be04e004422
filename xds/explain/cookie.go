package explain

import (
	"fmt"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
)

// meetsCookie says why the request does not have a cookie of a value; empty if it does.
func (s *seen) meetsCookie(where string, c *routev3.CookieMatcher) (why string, err error) {
	if err := only(where, c, "name", "string_match"); err != nil {
		return "", err
	}
	value, found := s.cookie(c.Name)
	if !found {
		return fmt.Sprintf("cookie %s is missing", c.Name), nil
	}
	ok, err := text(where, c.StringMatch, value)
	if err == nil && !ok {
		why = fmt.Sprintf("cookie %s is %q", c.Name, value)
	}
	return why, err
}

// cookie returns the value of the first cookie of a name, without quotation marks around it, as Envoy reads it.
func (s *seen) cookie(name string) (string, bool) {
	for _, header := range s.header("cookie") {
		for pair := range strings.SplitSeq(header, ";") {
			key, value, ok := strings.Cut(strings.TrimSpace(pair), "=")
			if !ok || key != name {
				continue
			}
			if inner, quoted := strings.CutPrefix(value, `"`); quoted && strings.HasSuffix(inner, `"`) {
				value = strings.TrimSuffix(inner, `"`)
			}
			return value, true
		}
	}
	return "", false
}
