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

const (
	// patience is how long a verdict waits for what is missing: it may just have been stored, or come at the same time
	// from a client that sends several objects at once.
	patience = 200 * time.Millisecond
	// glances is how often a missing object is looked up in that time, if there are at most maxLookedUp of them.
	glances     = 4
	maxLookedUp = 8
)

// try returns the problems that the change would add. If something is missing, it waits a moment: the tables learn of
// objects by watches, and a user who applies a folder of objects must not be warned about objects that are stored
// already. Missing objects are looked up in the API server. For everything else that may still appear, such as a grant
// or a label, there is a second check. Others have the turn meanwhile.
func (v *validator) try(ctx context.Context, trial *trial, obj client.Object) ([]translator.Finding, error) {
	findings, err := v.look(ctx, trial, obj)
	if err != nil || !slices.ContainsFunc(findings, mayCome) || hurried(ctx) {
		return findings, err
	}
	err = stepAside(ctx, func() (err error) {
		findings, err = v.wait(ctx, findings)
		return err
	})
	if err != nil || !slices.ContainsFunc(findings, mayLag) {
		return findings, err
	}
	trial.waited = true
	return v.look(ctx, trial, obj)
}

// wait drops the findings about missing objects that appear in time. It ends early if nothing is missing any more.
func (v *validator) wait(ctx context.Context, findings []translator.Finding) ([]translator.Finding, error) {
	for range glances {
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for what is missing: %w", ctx.Err())
		case <-time.After(patience / glances):
		}
		if missing(findings) > maxLookedUp {
			continue
		}
		var err error
		if findings, err = v.confirmed(ctx, findings); err != nil || !slices.ContainsFunc(findings, mayCome) {
			return findings, err
		}
	}
	return findings, nil
}

// missing counts the missing objects.
func missing(findings []translator.Finding) int {
	refs := map[verdict.Ref]bool{}
	for _, f := range findings {
		if f.Problem.Missing != nil {
			refs[*f.Problem.Missing] = true
		}
	}
	return len(refs)
}

func (v *validator) look(ctx context.Context, trial *trial, obj client.Object) ([]translator.Finding, error) {
	ctx, span := stage(ctx, "try the change")
	defer span.End()
	findings, err := v.attempt(ctx, trial, obj)
	if err != nil {
		return nil, fmt.Errorf("trying the change: %w", err)
	}
	return v.confirmed(ctx, findings)
}

// hurried reports whether there is too little time left to wait.
func hurried(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ok && time.Until(deadline) < 2*patience
}

// mayCome reports whether waiting may help: not with what begins only after the object is stored.
func mayCome(f translator.Finding) bool {
	return f.Problem.Weight == verdict.Unresolved && !f.Problem.Pending
}

// mayLag reports whether the tables may be late. It is false for a missing object, because the API server itself was
// asked.
func mayLag(f translator.Finding) bool { return mayCome(f) && f.Problem.Missing == nil }
