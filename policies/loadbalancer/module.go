package loadbalancer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"

	modulesv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/dynamic_modules/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

const (
	// maxName is the length of a name, and maxConfig the size of a configuration in bytes. Each cluster has a copy of both.
	maxName   = 253
	maxConfig = 4 << 10
)

// moduleName is the name of a module.
var moduleName = regexp.MustCompile("^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")

// byModule reports whether a module chooses endpoints.
func byModule(lb *v1alpha1.LoadBalancer) bool {
	return lb.Type == v1alpha1.DynamicModuleLoadBalancerType && lb.DynamicModule != nil
}

func checkModule(field string, lb *v1alpha1.LoadBalancer) (problems []verdict.Problem) {
	if lb.Type != v1alpha1.DynamicModuleLoadBalancerType {
		return nil
	}
	m := lb.DynamicModule
	if m == nil {
		return []verdict.Problem{feature.Invalid(field, "type is DynamicModule, so dynamicModule must name a module: add it")}
	}
	if len(m.Name) > maxName || !moduleName.MatchString(m.Name) {
		problems = append(problems, feature.Invalid(field+".name",
			"%q is no name of a module: use up to %d lower-case letters, digits, dots and dashes", m.Name, maxName))
	}
	if n := len(m.LBPolicyName); n == 0 || n > maxName {
		problems = append(problems, feature.Invalid(field+".lbPolicyName", "the name has %d characters: write 1 to %d", n, maxName))
	}
	if m.Config != nil && len(m.Config.Raw) > maxConfig {
		problems = append(problems, feature.Invalid(field+".config", "the configuration has %d bytes: write up to %d",
			len(m.Config.Raw), maxConfig))
	}
	return problems
}

// module has a module of the fleet choose endpoints. If the fleet does not have it, nothing can be sent.
func module(lb *v1alpha1.LoadBalancer, upstream *feature.Upstream) proto.Message {
	m := lb.DynamicModule
	loaded := upstream.Modules.Load(m.Name)
	if loaded == nil {
		upstream.Unmet = fmt.Sprintf("module %q of loadBalancer.dynamicModule", m.Name)
		return nil
	}
	config := &modulesv3.DynamicModulesLoadBalancerConfig{DynamicModuleConfig: loaded, LbPolicyName: m.LBPolicyName}
	if m.Config != nil && len(m.Config.Raw) > 0 {
		config.LbPolicyConfig = feature.Any(wrapperspb.String(compact(m.Config.Raw)))
	}
	return config
}

// compact is JSON without spaces, so that the same configuration has the same bytes.
func compact(text []byte) string {
	var out bytes.Buffer
	if json.Compact(&out, text) != nil {
		return string(text) // Unreachable: it was decoded.
	}
	return out.String()
}
