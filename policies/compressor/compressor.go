// Package compressor is the compressor part of a BackendTrafficPolicy: how responses are compressed. It is also the older
// field compression, which means the same.
package compressor

import (
	"fmt"
	"math"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	brotliv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/compression/brotli/compressor/v3"
	gzipv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/compression/gzip/compressor/v3"
	zstdv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/compression/zstd/compressor/v3"
	compressorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/compressor/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

const (
	// filter is the HTTP filter that becomes the compressors of a route. One for all of them costs requests less than
	// one for each (docs/decisions/097-filters-of-traffic-policies.md).
	filter = "envoy.filters.http.composite/compressor"
	// least is how many bytes a response must have to be compressed, unless the policy says more.
	least = 30
)

// Feature is the compressor part.
var Feature = feature.Feature[v1alpha1.BackendTrafficPolicySpec]{
	Name:  "compressor",
	Check: check,
	Route: route,
	Effective: func(spec *v1alpha1.BackendTrafficPolicySpec, _ feature.Have, e *feature.Effective) {
		_, list := written(spec)
		if len(check(spec)) > 0 {
			return
		}
		for _, c := range list {
			e.Compression = append(e.Compression, string(c.Type))
		}
	},
	Filters: []feature.Filter{{Name: filter, Config: feature.Composite(), Off: feature.Nothing()}},
}

// algorithm is how Envoy compresses.
type algorithm struct {
	// name is that of the coding in HTTP, and in Envoy's names.
	name   string
	config proto.Message
}

var algorithms = map[v1alpha1.CompressorType]algorithm{
	v1alpha1.GzipCompressorType:   {"gzip", &gzipv3.Gzip{}},
	v1alpha1.BrotliCompressorType: {"brotli", &brotliv3.Brotli{}},
	v1alpha1.ZstdCompressorType:   {"zstd", &zstdv3.Zstd{}},
}

// written returns the compressors, and the field that has them.
func written(spec *v1alpha1.BackendTrafficPolicySpec) (string, []*v1alpha1.Compression) {
	if len(spec.Compressor) > 0 {
		return "compressor", spec.Compressor
	}
	return "compression", spec.Compression
}

func check(spec *v1alpha1.BackendTrafficPolicySpec) (problems []verdict.Problem) {
	if len(spec.Compressor) > 0 && len(spec.Compression) > 0 {
		return []verdict.Problem{feature.Invalid("compression", "compressor says the same: remove compression, which is deprecated")}
	}
	field, list := written(spec)
	seen := map[v1alpha1.CompressorType]int{}
	for i, c := range list {
		at := fmt.Sprintf("%s[%d]", field, i)
		if c == nil {
			problems = append(problems, feature.Invalid(at, "it is null: write a compressor, such as type: Gzip, or remove it"))
			continue
		}
		problems = append(problems, feature.CheckChoice(at+".type", c.Type, algorithms)...)
		problems = append(problems, feature.CheckQuantity(at+".minContentLength", c.MinContentLength, least, math.MaxUint32, "1Ki")...)
		if first, ok := seen[c.Type]; ok {
			problems = append(problems, feature.Invalid(at+".type", "%s[%d] has type %s already: remove one of both", field, first, c.Type))
			continue
		}
		seen[c.Type] = i
	}
	return problems
}

// route compresses by the first compressor if the client takes several equally. Backends do not learn what clients take,
// so they do not compress.
func route(spec *v1alpha1.BackendTrafficPolicySpec, _ feature.Have, route *feature.Route) {
	_, list := written(spec)
	if len(list) == 0 || len(check(spec)) > 0 {
		return
	}
	var filters []*corev3.TypedExtensionConfig
	for i, c := range list {
		a := algorithms[c.Type]
		size := uint32(least)
		if c.MinContentLength != nil {
			size = uint32(c.MinContentLength.Value())
		}
		filters = append(filters, feature.Extension("envoy.filters.http.compressor."+a.name, &compressorv3.Compressor{
			CompressorLibrary: feature.Extension(a.name, a.config),
			ChooseFirst:       i == 0,
			ResponseDirectionConfig: &compressorv3.Compressor_ResponseDirectionConfig{
				CommonConfig:               &compressorv3.Compressor_CommonDirectionConfig{MinContentLength: wrapperspb.UInt32(size)},
				RemoveAcceptEncodingHeader: i == 0,
			},
		}))
	}
	slices.Reverse(filters) // The one that removes the header must be the last that sees it.
	feature.PerRoute(route.Route, filter, feature.Whole(filters...))
}
