package extauth

import (
	"slices"
	"strings"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	headerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"

	"gatehouse/policies/feature"
)

// A header that the backend gets from a server's answer says what the server knows, such as who the client is. A client
// must not be able to set it for itself if the server does not. So these headers are removed from the request before
// the server is asked.

// stripper is the name of the HTTP filter that removes headers.
const stripper = "envoy.filters.http.header_mutation"

// setByEnvoy are headers that Envoy itself sets on requests, besides those that begin with x-envoy-. It does not take
// them from clients as they are.
var setByEnvoy = []string{"x-forwarded-for", "x-forwarded-proto", "x-forwarded-client-cert", "x-request-id"}

// stripped lists the headers that are removed from requests: those that are copied from an answer by HTTP, in lower
// case. A header that the server gets is not among them: the server knows the client's value, and can replace it.
func stripped(copied, sent []string) []string {
	left := append([]string{"authorization"}, setByEnvoy...)
	for _, name := range sent {
		left = append(left, strings.ToLower(name))
	}
	var names []string
	for _, name := range copied {
		name = strings.ToLower(name)
		if !strings.HasPrefix(name, "x-envoy-") && !slices.Contains(left, name) && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// strip removes headers from requests.
func strip(names []string) *corev3.TypedExtensionConfig {
	config := &headerv3.HeaderMutation{Mutations: &headerv3.Mutations{}}
	for _, name := range names {
		config.Mutations.RequestMutations = append(config.Mutations.RequestMutations, &mutationv3.HeaderMutation{
			Action: &mutationv3.HeaderMutation_Remove{Remove: name},
		})
	}
	return feature.Extension(stripper, config)
}
