package definition

import (
	"context"
	"slices"

	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
)

// Accepts reports whether a kind's schema accepts an object, by the acceptor and by the validator of the API server.
func Accepts(k *Kind, object map[string]any) (ours, theirs bool) {
	return k.acceptor.accepts(object), len(validation.ValidateCustomResource(nil, object, k.validator)) == 0
}

// Broken are the rules that an object breaks, sorted, with the schema for this object and with that of the kind.
func Broken(k *Kind, object map[string]any) (ours, theirs []string) {
	narrowed := narrow(k.Schema, []any{object})
	found, _ := with(k.cel, narrowed).Validate(context.Background(), nil, narrowed, object, nil, celconfig.RuntimeCELCostBudget)
	whole, _ := k.cel.Validate(context.Background(), nil, k.Schema, object, nil, celconfig.RuntimeCELCostBudget)
	return sorted(found), sorted(whole)
}

func sorted(errs field.ErrorList) (texts []string) {
	for _, err := range errs {
		texts = append(texts, err.Error())
	}
	slices.Sort(texts)
	return texts
}
