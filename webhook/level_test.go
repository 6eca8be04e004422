package webhook

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"testing"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"

	"gatehouse/policies/verdict"
	"gatehouse/translator"
)

// TestTellsWhatEnforceWouldDeny: at level warn the log names each object that the next level would have denied, and
// why. It does not log what enforce only warns about, and nothing at the other levels, because there the answer itself
// says it.
func TestTellsWhatEnforceWouldDeny(t *testing.T) {
	found := func(w verdict.Weight) translator.Finding {
		return translator.Finding{Object: own, Problem: verdict.Problem{
			Field: "spec." + w.String(), Message: "bad; mend it",
			Weight: w,
		}}
	}
	trier := says(found(verdict.Unresolved), found(verdict.Invalid), found(verdict.Conflicted))
	for level, want := range map[Level][]string{
		LevelOff: nil, LevelWarn: {"spec.Invalid: bad; mend it"}, LevelEnforce: nil, LevelStrict: nil,
	} {
		var out bytes.Buffer
		v := &validator{
			trier: trier, scheme: scheme, levels: levels{namespaces: stored(nil), fallback: level}, counts: newCounts(nil),
			log: logr.FromSlogHandler(slog.NewJSONHandler(&out, nil)),
		}
		request := httpRoute()
		request.Name, request.UserInfo.Username = "r", "kim"
		if _, err := v.answer(t.Context(), request); err != nil {
			t.Fatal(err)
		}
		if want == nil {
			if out.Len() > 0 {
				t.Errorf("level %s logs %s", level, out.String())
			}
			continue
		}
		var got struct {
			Msg, Operation, Group, Kind, Namespace, Name, User string
			Problems                                           []string
		}
		if err := json.Unmarshal(out.Bytes(), &got); err != nil {
			t.Fatalf("level %s logs %q: %v", level, out.String(), err)
		}
		wanted := got
		wanted.Msg, wanted.Operation, wanted.Group, wanted.Kind = wouldDeny, "CREATE", own.Group, own.Kind
		wanted.Namespace, wanted.Name, wanted.User, wanted.Problems = own.Namespace, own.Name, "kim", want
		if diff := cmp.Diff(wanted, got); diff != "" {
			t.Errorf("the log of level %s (-want +got):\n%s", level, diff)
		}
	}
}

// TestPendingIsNeverDenied: what begins only after the object is stored causes a warning at the strictest level too.
// Otherwise it could never begin.
func TestPendingIsNeverDenied(t *testing.T) {
	problem := verdict.Problem{Field: "spec.url", Message: "not fetched yet: wait", Weight: verdict.Unresolved}
	for _, pending := range []bool{true, false} {
		problem.Pending = pending
		v := &validator{
			trier: says(translator.Finding{Object: own, Problem: problem}), scheme: scheme,
			levels: levels{namespaces: stored(nil), fallback: LevelStrict}, counts: newCounts(nil),
		}
		answer, err := v.answer(t.Context(), httpRoute())
		if err != nil || answer.Allowed != pending || pending != (len(answer.Warnings) == 1) {
			t.Errorf("pending %t: got %v, %v", pending, answer, err)
		}
	}
}

// TestSelfTestIsDeniedAtEachLevel: the self-test succeeds at a level that denies nothing too, because namespaces may
// have a stricter one.
func TestSelfTestIsDeniedAtEachLevel(t *testing.T) {
	for level := range deniedAt {
		v := &validator{trier: newWorld(t, nil), scheme: scheme, levels: levels{namespaces: stored(nil), fallback: level}, counts: newCounts(nil)}
		answer, err := v.answer(t.Context(), selfTestReview().Request)
		if err != nil || answer.Allowed {
			t.Errorf("where level %s holds the self-test is answered with %v, %v", level, answer, err)
		}
	}
}
