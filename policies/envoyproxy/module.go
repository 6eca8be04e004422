package envoyproxy

import (
	"path"
	"strings"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// checkModules finds modules that Envoy cannot load.
func checkModules(modules []v1alpha1.DynamicModule) (problems []verdict.Problem) {
	for i := range modules {
		field, local := at("spec.dynamicModules", i)+".source", modules[i].Source.Local
		switch {
		case local == nil:
			problems = append(problems, feature.Invalid(field+".local", "a module is a file in Envoy's container: set local.path"))
		case !path.IsAbs(local.Path) || strings.ContainsFunc(local.Path, func(r rune) bool { return r < ' ' || r == 0x7f }):
			problems = append(problems, feature.Invalid(field+".local.path",
				"%q is no absolute path: write one, such as /modules/libshop.so", local.Path))
		}
	}
	return problems
}
