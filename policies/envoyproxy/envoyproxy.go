// Package envoyproxy checks the settings of an Envoy fleet, and applies the patches among them.
//
// It finds settings that would prevent the fleet's objects from being created or its Envoys from starting. So status
// and admission report them, instead of the events of a pod.
package envoyproxy

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// Problems returns the problems of the settings. All are Invalid: they can never work as written.
func Problems(ep *v1alpha1.EnvoyProxy) []verdict.Problem {
	if ep == nil {
		return nil
	}
	spec := &ep.Spec
	problems := slices.Concat(
		feature.Unread(spec.Unread, "no Gateway is accepted with these settings"),
		checkLogging(spec.Logging),
		feature.CheckRoutingType("spec.routingType", spec.RoutingType),
		checkExtraArgs(spec),
		checkShutdown(spec.Shutdown),
		checkModules(spec.DynamicModules),
	)
	if spec.Provider == nil || spec.Provider.Kubernetes == nil {
		return problems
	}
	return append(problems, checkKubernetes(spec.Provider.Kubernetes)...)
}

// checkLogging reports loggers that Envoy does not have, because Envoy refuses to start with an unknown one.
func checkLogging(logging v1alpha1.ProxyLogging) []verdict.Problem {
	var problems []verdict.Problem
	for _, component := range slices.Sorted(maps.Keys(logging.Level)) {
		if component != v1alpha1.LogComponentDefault && !slices.Contains(loggers, string(component)) {
			problems = append(problems, feature.Invalid("spec.logging.level["+string(component)+"]",
				"Envoy has no logger %q: use default, or one of Envoy's, such as upstream, http, connection, filter, router or config", component))
		}
	}
	return problems
}

// fixedArgs are the arguments that Envoy always gets; Envoy rejects an argument that is given twice. The value says how
// to set the same thing in another way.
var fixedArgs = map[string]string{
	"--config-yaml":         "remove it",
	"--service-cluster":     "remove it: it says which Gateway the proxy belongs to",
	"--service-node":        "remove it: it says which pod the proxy is",
	"--service-zone":        "remove it: it is the zone of the pod's node",
	"--log-level":           "set spec.logging.level.default instead",
	"-l":                    "set spec.logging.level.default instead",
	"--component-log-level": "set spec.logging.level instead",
	"--drain-time-s":        "set spec.shutdown.drainTimeout instead",
	"--drain-strategy":      "remove it",
}

func checkExtraArgs(spec *v1alpha1.EnvoyProxySpec) []verdict.Problem {
	var problems []verdict.Problem
	for i, arg := range spec.ExtraArgs {
		name, _, _ := strings.Cut(arg, "=")
		wayOut, fixed := fixedArgs[name]
		if name == "--concurrency" && spec.Concurrency != nil {
			wayOut, fixed = "keep spec.concurrency only", true
		}
		if fixed {
			problems = append(problems, feature.Invalid(at("spec.extraArgs", i), "%q is given to Envoy already: %s", arg,
				wayOut))
		}
	}
	return problems
}

func checkShutdown(s *v1alpha1.ShutdownConfig) []verdict.Problem {
	if s == nil {
		return nil
	}
	return slices.Concat(
		feature.CheckDuration("spec.shutdown.healthCheckFailureDelay", s.HealthCheckFailureDelay),
		feature.CheckDuration("spec.shutdown.drainTimeout", s.DrainTimeout),
		feature.CheckDuration("spec.shutdown.minDrainDuration", s.MinDrainDuration),
	)
}

func checkKubernetes(k *v1alpha1.EnvoyProxyKubernetesProvider) []verdict.Problem {
	const field = "spec.provider.kubernetes"
	var problems []verdict.Problem
	if d := k.EnvoyDeployment; d != nil {
		problems = append(problems, checkName(field+".envoyDeployment.name", d.Name, validation.IsDNS1123Subdomain)...)
		problems = append(problems, checkPod(field+".envoyDeployment", d.Pod, d.Container, d.InitContainers)...)
		problems = append(problems, checkPatch(field+".envoyDeployment.patch", d.Patch, appsv1.Deployment{})...)
	}
	if d := k.EnvoyDaemonSet; d != nil {
		problems = append(problems, checkName(field+".envoyDaemonSet.name", d.Name, validation.IsDNS1123Subdomain)...)
		problems = append(problems, checkPod(field+".envoyDaemonSet", d.Pod, d.Container, nil)...)
		problems = append(problems, checkPatch(field+".envoyDaemonSet.patch", d.Patch, appsv1.DaemonSet{})...)
	}
	if s := k.EnvoyService; s != nil {
		problems = append(problems, checkName(field+".envoyService.name", s.Name, validation.IsDNS1035Label)...)
		problems = append(problems, checkOwnLabels(field+".envoyService.labels", s.Labels)...)
		problems = append(problems, checkPatch(field+".envoyService.patch", s.Patch, corev1.Service{})...)
	}
	if a := k.EnvoyServiceAccount; a != nil {
		problems = append(problems, checkName(field+".envoyServiceAccount.name", a.Name, validation.IsDNS1123Subdomain)...)
	}
	return problems
}

func checkName(field string, name *string, check func(string) []string) []verdict.Problem {
	if name == nil {
		return nil
	}
	if wrong := check(*name); len(wrong) > 0 {
		return []verdict.Problem{feature.Invalid(field, "%q cannot be the name of the object: %s", *name, wrong[0])}
	}
	return nil
}

func at(field string, i int) string { return field + "[" + strconv.Itoa(i) + "]" }
