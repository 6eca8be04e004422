package healthcheck

import (
	"fmt"
	"path"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filesinkv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/health_check/event_sinks/file/v3"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// stdout is the file that events are written to by default.
const stdout = "/dev/stdout"

var events = map[v1alpha1.HealthCheckEventType]bool{
	v1alpha1.HealthCheckEventFailure: true, v1alpha1.HealthCheckEventFailureSeriesStart: true,
	v1alpha1.HealthCheckEventSuccess: true, v1alpha1.HealthCheckEventHealthyTransition: true,
}

func checkLog(field string, l *v1alpha1.ProxyHealthCheckLog) (problems []verdict.Problem) {
	if l == nil {
		return nil
	}
	if len(l.Sinks) > 1 {
		problems = append(problems, feature.Invalid(field+".sinks", "there are %d sinks: write one", len(l.Sinks)))
	}
	for i, sink := range l.Sinks {
		at := fmt.Sprintf("%s.sinks[%d]", field, i)
		if sink.Type != v1alpha1.ProxyHealthCheckLogSinkTypeFile || sink.File == nil {
			problems = append(problems, feature.Invalid(at, "it names no file: write type File and file.path"))
			continue
		}
		if p := sink.File.Path; !writable(p) {
			problems = append(problems, feature.Invalid(at+".file.path",
				"%q cannot be written to: write /dev/stdout, /dev/stderr, or an absolute path outside of /dev, /proc and /sys", p))
		}
	}
	for i, event := range l.Matches {
		problems = append(problems, feature.CheckChoice(fmt.Sprintf("%s.matches[%d]", field, i), event, events)...)
	}
	has := func(of ...v1alpha1.HealthCheckEventType) bool {
		return slices.ContainsFunc(l.Matches, func(e v1alpha1.HealthCheckEventType) bool { return slices.Contains(of, e) })
	}
	if len(l.Matches) > 0 && (!has(v1alpha1.HealthCheckEventSuccess, v1alpha1.HealthCheckEventHealthyTransition) ||
		!has(v1alpha1.HealthCheckEventFailure, v1alpha1.HealthCheckEventFailureSeriesStart)) {
		problems = append(problems, feature.Invalid(field+".matches", "changes for better and for worse are only written "+
			"together: list one of Success and HealthyTransition, and one of Failure and FailureSeriesStart"))
	}
	return problems
}

// writable reports whether Envoy may write to a file.
func writable(file string) bool {
	if file == stdout || file == "/dev/stderr" {
		return true
	}
	if !path.IsAbs(file) || path.Clean(file) != file {
		return false
	}
	first, _, _ := strings.Cut(strings.TrimPrefix(file, "/"), "/")
	return !slices.Contains([]string{"", "dev", "proc", "sys"}, first)
}

// writeEvents has Envoy write what the check finds.
func writeEvents(l *v1alpha1.ProxyHealthCheckLog, check *corev3.HealthCheck) {
	if l == nil {
		return
	}
	file := stdout
	if len(l.Sinks) > 0 && l.Sinks[0].File != nil && writable(l.Sinks[0].File.Path) {
		file = l.Sinks[0].File.Path
	}
	check.EventLogger = []*corev3.TypedExtensionConfig{{
		Name:        "envoy.health_check.event_sinks.file",
		TypedConfig: feature.Any(&filesinkv3.HealthCheckEventFileSink{EventLogPath: file}),
	}}
	all := len(l.Matches) == 0
	check.AlwaysLogHealthCheckFailures = all || slices.Contains(l.Matches, v1alpha1.HealthCheckEventFailure)
	check.AlwaysLogHealthCheckSuccess = all || slices.Contains(l.Matches, v1alpha1.HealthCheckEventSuccess)
}
