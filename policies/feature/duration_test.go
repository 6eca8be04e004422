package feature

import (
	"testing"
	"time"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

func TestDuration(t *testing.T) {
	tests := map[gwapiv1.Duration]time.Duration{
		"0s": 0, "1m30s": 90 * time.Second, "500ms": 500 * time.Millisecond,
		"99999h99999h99999h99999h": 4 * 99999 * time.Hour,
	}
	for written, want := range tests {
		if got := Duration(&written); got == nil || got.AsDuration() != want {
			t.Errorf("%s: got %v, want %s", written, got, want)
		}
	}
	for _, written := range []gwapiv1.Duration{"", "1", "1.5s", "-1s", "1d", "100000h", "1s1s1s1s1s", "1us", " 1s"} {
		if got := Duration(&written); got != nil {
			t.Errorf("%q: got %s, want none", written, got.AsDuration())
		}
	}
	if Duration(nil) != nil || CheckDuration("spec.x", nil) != nil || CheckPositive("spec.x", nil, "1s") != nil {
		t.Error("a field that is not set is no problem")
	}
}

// FuzzDuration checks that a duration is either translated or told of, never neither and never both.
func FuzzDuration(f *testing.F) {
	for _, seed := range []string{"0s", "1m30s", "1.5h", "99999h", "ms", "1h1m1s1ms", "forever"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, written string) {
		d := gwapiv1.Duration(written)
		if refused, translated := len(CheckDuration("spec.x", &d)) > 0, Duration(&d) != nil; refused == translated {
			t.Errorf("%q: refused %t, translated %t", written, refused, translated)
		}
		if err := Duration(&d).CheckValid(); Duration(&d) != nil && err != nil {
			t.Errorf("%q: %v", written, err)
		}
	})
}
