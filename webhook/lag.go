package webhook

import (
	"context"
	"fmt"
	"slices"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"gatehouse/policies/verdict"
	"gatehouse/translator"
)

// catchUp is how long a second look waits for what was stored just before to reach the tables. A watch event takes milliseconds.
const catchUp = 150 * time.Millisecond

// try answers what the change would add. What is not there may be on its way, since the tables learn of objects by watches: whoever applies a folder of
// objects is not to be warned of what the folder has stored before. Missing objects are looked up; for all else that may still come, such as a
// grant or a label, there is a second look.
func (v *validator) try(ctx context.Context, obj client.Object) ([]translator.Finding, error) {
	findings, err := v.look(ctx, obj)
	if err != nil || !slices.ContainsFunc(findings, mayLag) {
		return findings, err
	}
	select {
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for what was just stored: %w", ctx.Err())
	case <-time.After(catchUp):
	}
	return v.look(ctx, obj)
}

func (v *validator) look(ctx context.Context, obj client.Object) ([]translator.Finding, error) {
	findings, err := v.trier.Try(ctx, obj)
	if err != nil {
		return nil, fmt.Errorf("trying the change: %w", err)
	}
	return v.confirmed(ctx, findings)
}

// mayLag reports whether the tables may just not know yet. Of a missing object the API server itself was asked.
func mayLag(f translator.Finding) bool {
	return f.Problem.Weight == verdict.Unresolved && f.Problem.Missing == nil
}
