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

// catchUp is how long the second check waits until objects that were just stored reach the tables. A watch event takes
// milliseconds.
const catchUp = 150 * time.Millisecond

// try returns the problems that the change would add. Something that is missing may just have been stored, because the
// tables learn of objects by watches: a user who applies a folder of objects must not be warned about objects that were
// stored before. Missing objects are looked up. For everything else that may still appear, such as a grant or a label,
// there is a second check.
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

// mayLag reports whether the tables may be late. It is false for a missing object, because the API server itself was
// asked, and for what begins only after the object is stored.
func mayLag(f translator.Finding) bool {
	return f.Problem.Weight == verdict.Unresolved && f.Problem.Missing == nil && !f.Problem.Pending
}
