// Package httpupgrade is the httpUpgrade part of a BackendTrafficPolicy: the protocols that clients may change to.
package httpupgrade

import (
	"fmt"
	"regexp"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"k8s.io/utils/ptr"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// Feature is the httpUpgrade part. Connection managers allow websocket by default. A route with CONNECT takes these
// requests besides those that it matches, which the translation sees to.
var Feature = feature.Feature[v1alpha1.BackendTrafficPolicySpec]{
	Name:  "httpUpgrade",
	Check: check,
	Route: route,
	Effective: func(spec *v1alpha1.BackendTrafficPolicySpec, _ feature.Have, e *feature.Effective) {
		if len(check(spec)) > 0 {
			return
		}
		for _, u := range spec.HTTPUpgrade {
			e.Upgrades = append(e.Upgrades, strings.ToLower(u.Type))
		}
	},
}

const websocket = "websocket"

// protocol is the form of a name in the header Upgrade (RFC 9110, section 7.8).
var protocol = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+(/[A-Za-z0-9!#$%&'*+.^_`|~-]+)?$")

// maxName is how long the name of a protocol may be, in bytes.
const maxName = 256

func check(spec *v1alpha1.BackendTrafficPolicySpec) (problems []verdict.Problem) {
	seen := map[string]int{}
	for i, u := range spec.HTTPUpgrade {
		field := fmt.Sprintf("httpUpgrade[%d]", i)
		if u == nil {
			problems = append(problems, feature.Invalid(field, "it is null: write a protocol, such as type: websocket, or remove it"))
			continue
		}
		problems = append(problems, checkOne(field, u)...)
		name := strings.ToLower(u.Type)
		if first, known := seen[name]; known {
			problems = append(problems, feature.Invalid(field+".type", "httpUpgrade[%d] has type %s already: remove one of both", first, u.Type))
			continue
		}
		seen[name] = i
	}
	return problems
}

func checkOne(field string, u *v1alpha1.ProtocolUpgradeConfig) []verdict.Problem {
	switch {
	case len(u.Type) > maxName:
		return []verdict.Problem{feature.Invalid(field+".type", "it has %d bytes: write a name of at most %d", len(u.Type), maxName)}
	case !protocol.MatchString(u.Type):
		return []verdict.Problem{feature.Invalid(field+".type",
			"%q cannot be the name of a protocol: write one such as websocket or spdy/3.1", u.Type)}
	case u.Connect != nil && !isConnect(u):
		return []verdict.Problem{feature.Invalid(field+".connect",
			"it is about type CONNECT, and the type is %q: remove it or write type CONNECT", u.Type)}
	}
	return nil
}

func isConnect(u *v1alpha1.ProtocolUpgradeConfig) bool {
	return strings.EqualFold(u.Type, feature.MethodConnect)
}

func route(spec *v1alpha1.BackendTrafficPolicySpec, _ feature.Have, route *feature.Route) {
	if len(spec.HTTPUpgrade) == 0 || len(check(spec)) > 0 {
		return
	}
	var upgrades []*routev3.RouteAction_UpgradeConfig
	without := true
	for _, u := range spec.HTTPUpgrade {
		upgrade := &routev3.RouteAction_UpgradeConfig{UpgradeType: strings.ToLower(u.Type)}
		without = without && upgrade.UpgradeType != websocket
		if isConnect(u) {
			upgrade.UpgradeType = feature.MethodConnect
			if u.Connect != nil && ptr.Deref(u.Connect.Terminate, false) {
				upgrade.ConnectConfig = &routev3.RouteAction_UpgradeConfig_ConnectConfig{}
			}
		}
		upgrades = append(upgrades, upgrade)
	}
	if without {
		upgrades = append(upgrades, &routev3.RouteAction_UpgradeConfig{UpgradeType: websocket, Enabled: wrapperspb.Bool(false)})
	}
	route.Forward().UpgradeConfigs = upgrades
}
