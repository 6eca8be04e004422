// Package patching makes the changes that the mutations of a policy return, with the packages of the API server for
// MutatingAdmissionPolicies.
package patching

import (
	"context"
	"fmt"
	"sync"

	"github.com/google/cel-go/common/types/ref"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured/unstructuredscheme"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apiserver/pkg/admission"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating/patch"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/authentication/user"

	rulesv1alpha1 "gatehouse/api/rules/v1alpha1"
)

// maxCopies is the most that operation copy may add to an object, in bytes. The API server has the same limit: copies
// could double the object each time.
const maxCopies = 3 << 20

// BoundCopies sets this limit for the process. Patch does it too.
var BoundCopies = sync.OnceFunc(func() { jsonpatch.AccumulatedCopySizeLimit = maxCopies })

// Patch returns the object with the change that the expression of a mutation has returned. It does not change the object
// itself. Types are those of the kind; only apply configurations need them.
func Patch(ctx context.Context, of rulesv1alpha1.PatchType, object map[string]any, value ref.Val,
	types managedfields.TypeConverter,
) (map[string]any, error) {
	BoundCopies()
	patcher := patch.NewJSONPatcher(evaluated{value})
	if of == rulesv1alpha1.PatchTypeApplyConfiguration {
		patcher = patch.NewApplyConfigurationPatcher(evaluated{value})
	}
	before := &unstructured.Unstructured{Object: object}
	kind := before.GroupVersionKind()
	patched, err := patcher.Patch(ctx, patch.Request{
		VersionedAttributes: &admission.VersionedAttributes{
			Attributes: admission.NewAttributesRecord(before, nil, kind, before.GetNamespace(), before.GetName(),
				schema.GroupVersionResource{}, "", admission.Update, nil, false, &user.DefaultInfo{}),
			VersionedObject: admission.NewLazyObject(before), VersionedKind: kind,
		},
		ObjectInterfaces: &admission.RuntimeObjectInterfaces{
			ObjectCreater: unstructuredscheme.NewUnstructuredCreator(), ObjectTyper: unstructuredscheme.NewUnstructuredObjectTyper(),
		},
		TypeConverter: types,
	}, celconfig.RuntimeCELCostBudget)
	if err != nil {
		return nil, err
	}
	after, ok := patched.(*unstructured.Unstructured)
	if !ok {
		return nil, fmt.Errorf("its result is a %T", patched)
	}
	return after.Object, nil
}

// evaluated is an expression that has returned a value.
type evaluated struct{ value ref.Val }

// ForInput implements plugincel.MutatingEvaluator.
func (e evaluated) ForInput(context.Context, *admission.VersionedAttributes, *admissionv1.AdmissionRequest,
	plugincel.OptionalVariableBindings, *corev1.Namespace, int64,
) (plugincel.EvaluationResult, int64, error) {
	return plugincel.EvaluationResult{EvalResult: e.value}, 0, nil
}

// CompilationErrors implements plugincel.MutatingEvaluator.
func (evaluated) CompilationErrors() []error { return nil }
