package webhook

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	rulesv1alpha1 "gatehouse/api/rules/v1alpha1"
	"gatehouse/policies/admissionrule"
	"gatehouse/translator"
)

// Effective computes what a change does to the effective configuration, and undoes it.
type Effective func(ctx context.Context, change translator.Event) (translator.Trial, error)

// trial is how the change of one request is tried, and the last result if the rules can use it.
type trial struct {
	// told reports whether rules about the request read the effective configuration. Then the change is tried once for
	// the verdict and for the rules.
	told bool
	last *translator.Trial
	// waited reports whether the last one was made a moment after the first.
	waited bool
}

func (v *validator) trialOf(request *admissionv1.AdmissionRequest) *trial {
	return &trial{told: v.effective != nil && v.rules.readsEffective(request)}
}

// attempt tries the change for the verdict. What the rules need may be more than can be computed, which is not the
// verdict's fault: then it is tried without.
func (v *validator) attempt(ctx context.Context, t *trial, obj client.Object) ([]translator.Finding, error) {
	if t.told {
		if done, err := v.effective(ctx, translator.Event{Object: obj}); err == nil {
			t.last = &done
			return done.Findings, nil
		}
	}
	return v.trier.Try(ctx, obj)
}

// effects returns what a request does to the effective configuration. It is computed once, when a rule asks for it. The
// first one uses what the trial for the verdict has found.
func (v *validator) effects(ctx context.Context, request *admissionv1.AdmissionRequest,
	t *trial,
) func() (*admissionrule.Effects, error) {
	found := t.last
	t.last = nil
	return sync.OnceValues(func() (*admissionrule.Effects, error) {
		if found != nil {
			return admissionrule.NewEffects(found.Before, found.After)
		}
		if v.effective == nil {
			return nil, errors.New("this control plane does not compute effective")
		}
		change, raw := translator.Event{}, request.Object.Raw
		if request.Operation == admissionv1.Delete {
			change.Deleted, raw = true, request.OldObject.Raw
		}
		obj, err := v.object(request, raw)
		if err != nil {
			return nil, err
		}
		change.Object = obj
		trial, err := v.effective(ctx, change)
		if err != nil {
			return nil, fmt.Errorf("trying the change: %w", err)
		}
		return admissionrule.NewEffects(trial.Before, trial.After)
	})
}

// rule evaluates the rules, and their mutations once more: the object may have got here without them.
func (v *validator) rule(ctx context.Context, request *admissionv1.AdmissionRequest, t *trial) (ruled, error) {
	failed, undone, err := v.rules.again(ctx, request)
	if err != nil {
		return ruled{}, err
	}
	findings, err := v.evaluate(ctx, request, t)
	said := v.rules.say(request, append(failed, findings...))
	said.warned = append(said.warned, undone...)
	return said, err
}

// evaluate evaluates the validations of rules. If one of them is violated by what takes effect, it waits a moment and
// evaluates them again, because the tables learn of objects by watches: the policy that a route needs may just have been
// stored. The verdict may have waited for the same reason.
func (v *validator) evaluate(ctx context.Context, request *admissionv1.AdmissionRequest, t *trial) (
	[]admissionrule.Finding, error,
) {
	findings, err := v.rules.judge(ctx, request, v.effects(ctx, request, t))
	if err != nil || !slices.ContainsFunc(findings, mayPass) || t.waited || hurried(ctx) {
		return findings, err
	}
	err = stepAside(ctx, func() error {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for what takes effect: %w", ctx.Err())
		case <-time.After(patience):
			return nil
		}
	})
	if err != nil {
		return nil, err
	}
	return v.rules.judge(ctx, request, v.effects(ctx, request, t))
}

// mayPass reports whether a violation that the user would read of may be over in a moment.
func mayPass(f admissionrule.Finding) bool {
	return f.Effective && !f.Before && f.Severity != rulesv1alpha1.SeverityAudit
}
