// Package duration reads the durations of Gateway API (GEP-2257), which are the only ones in objects and in the
// configuration.
package duration

import (
	"regexp"
	"time"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// form is what GEP-2257 allows. Go's own durations allow more.
var form = regexp.MustCompile(`^([0-9]{1,5}(h|m|s|ms)){1,4}$`)

// Parse reads a duration. It is false for a text that does not have the form.
func Parse(text gwapiv1.Duration) (time.Duration, bool) {
	if !form.MatchString(string(text)) {
		return 0, false
	}
	length, err := time.ParseDuration(string(text))
	return length, err == nil
}
