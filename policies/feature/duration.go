package feature

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/duration"
	"gatehouse/policies/verdict"
)

// Duration is a Gateway API duration (GEP-2257) as Envoy takes it. It is nil if the field is not set, or does not
// parse, which CheckDuration tells of.
func Duration(d *gwapiv1.Duration) *durationpb.Duration {
	length, ok := parse(d)
	if !ok {
		return nil
	}
	return durationpb.New(length)
}

// CheckDuration finds a duration that does not parse.
func CheckDuration(field string, d *gwapiv1.Duration) []verdict.Problem {
	if _, ok := parse(d); ok || d == nil {
		return nil
	}
	return []verdict.Problem{Invalid(field,
		"%q is not a duration: write one to four numbers of up to five digits, each with h, m, s or ms, such as 1m30s", *d)}
}

// CheckPositive finds a duration that does not parse or is zero, where Envoy accepts no zero. Otherwise says what
// leaving the field out means.
func CheckPositive(field string, d *gwapiv1.Duration, otherwise string) []verdict.Problem {
	if length, ok := parse(d); ok && length == 0 {
		return []verdict.Problem{Invalid(field, "%q is too short: write a duration above 0s, or leave the field out for %s",
			*d, otherwise)}
	}
	return CheckDuration(field, d)
}

func parse(d *gwapiv1.Duration) (time.Duration, bool) {
	if d == nil {
		return 0, false
	}
	return duration.Parse(*d)
}
