package webhook

import (
	"context"
	"slices"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"gatehouse/policies/verdict"
	"gatehouse/translator"
)

// deletionTime is how long a deletion waits for what it takes away. After that it is allowed without a warning.
const deletionTime = 500 * time.Millisecond

// deletion returns warnings about the traffic that a deletion takes away.
func (v *validator) deletion(ctx context.Context, request *admissionv1.AdmissionRequest) []string {
	if v.deletions == nil || request.SubResource != "" || unread(request.UserInfo) {
		return nil
	}
	if level, _ := v.levels.of(ctx, request.Namespace); level == LevelOff {
		return nil
	}
	obj, err := v.object(request, request.OldObject.Raw)
	if err != nil || obj.GetDeletionTimestamp() != nil {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, deletionTime)
	defer cancel()
	findings, err := v.deletions.Try(limited, obj)
	if err != nil {
		v.counts.unjudged.WithLabelValues("validate", causeOf(err)).Inc()
		v.log.V(1).Info("a deletion is allowed without a look", "kind", request.Kind.Kind, "namespace", request.Namespace,
			"name", request.Name, "why", err.Error())
		return nil
	}
	return v.losses(ctx, obj, request, findings)
}

// losses are the warnings of a deletion. A policy whose target is deleted takes no traffic away.
func (v *validator) losses(ctx context.Context, obj client.Object, request *admissionv1.AdmissionRequest,
	findings []translator.Finding,
) (warnings []string) {
	findings = slices.DeleteFunc(slices.Clone(findings), func(f translator.Finding) bool {
		return f.Problem.Reason == reasonTargetNotFound
	})
	reader, deleted := v.reader(request), changedBy(request, obj)
	for _, g := range grouped(verdict.Ref{}, findings) {
		who, several := g.who(ctx, deleted, reader)
		w := "with this, " + who + " would " + g.fate(several) + ": change "
		if several {
			warnings = append(warnings, w+"them, or agree with the owners first")
		} else {
			warnings = append(warnings, w+"it, or agree with the owners first")
		}
	}
	return warnings
}

// unread reports whether nobody reads the warnings that a user gets: a controller of Kubernetes, which deletes what is in
// a deleted namespace and what belongs to deleted objects.
func unread(user authenticationv1.UserInfo) bool {
	return strings.HasPrefix(user.Username, "system:serviceaccount:kube-system:") ||
		slices.Contains([]string{"system:kube-controller-manager", "system:apiserver"}, user.Username)
}
