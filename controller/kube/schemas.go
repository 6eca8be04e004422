package kube

import (
	"context"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"gatehouse/policies/admissionrule"
)

// Schemas reads the schemas of CRDs with a reader, which should have no cache: they are large, and read only when an
// AdmissionRule is written. The schema of a CRD that cannot be read counts as unknown.
func Schemas(reader client.Reader) func(context.Context) admissionrule.Schemas {
	return func(ctx context.Context) admissionrule.Schemas {
		return func(kind schema.GroupVersionKind) *structural.Structural {
			resource, known := admissionrule.ResourceOf(kind.GroupKind())
			if !known {
				return nil
			}
			crd := &apiextensionsv1.CustomResourceDefinition{}
			if err := reader.Get(ctx, client.ObjectKey{Name: resource.Name + "." + resource.Group}, crd); err != nil {
				return nil
			}
			for _, v := range crd.Spec.Versions {
				if v.Name == kind.Version && v.Schema != nil {
					return structured(v.Schema.OpenAPIV3Schema)
				}
			}
			return nil
		}
	}
}

func structured(s *apiextensionsv1.JSONSchemaProps) *structural.Structural {
	internal := &apiextensions.JSONSchemaProps{}
	if s == nil || apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(s, internal, nil) != nil {
		return nil
	}
	read, err := structural.NewStructural(internal)
	if err != nil {
		return nil // The API server stores no such CRD.
	}
	return read
}
