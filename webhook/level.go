package webhook

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"gatehouse/policies/verdict"
)

// LevelLabel on a Namespace sets how strict admission is there, and overrides the level of the installation.
const LevelLabel = "gatehouse.dev/admission"

// Level is how strict admission is.
type Level string

const (
	// LevelOff admits everything without a check.
	LevelOff Level = "off"
	// LevelWarn denies nothing and warns about everything.
	LevelWarn Level = "warn"
	// LevelEnforce denies Invalid problems and warns about the others. It is the default.
	LevelEnforce Level = "enforce"
	// LevelStrict denies Invalid, Unresolved and Conflicted problems.
	LevelStrict Level = "strict"
)

// deniedAt has the weights that each level denies.
var deniedAt = map[Level][]verdict.Weight{
	LevelOff:     nil,
	LevelWarn:    nil,
	LevelEnforce: {verdict.Invalid},
	LevelStrict:  {verdict.Invalid, verdict.Unresolved, verdict.Conflicted},
}

// ParseLevel parses a level. If the name is unknown, it returns an error that lists the levels.
func ParseLevel(name string) (Level, error) {
	if _, known := deniedAt[Level(name)]; !known {
		return "", fmt.Errorf("%q is not a level: use %s", name, levelNames())
	}
	return Level(name), nil
}

func levelNames() string {
	return strings.Join([]string{string(LevelOff), string(LevelWarn), string(LevelEnforce), string(LevelStrict)}, ", ")
}

// Denies reports whether an object with a problem of that weight is denied.
func (l Level) Denies(w verdict.Weight) bool { return slices.Contains(deniedAt[l], w) }

// denies reports whether an object with the problem of the line is denied. What other objects lose is only warned of, at
// every level; if it is Invalid, it is the changed object that cannot work, such as a Secret that others use.
func (l Level) denies(of line) bool {
	return l.Denies(of.weight) && !of.pending && !of.overruled && (!of.others || of.weight == verdict.Invalid)
}

// levels reads the levels of namespaces.
type levels struct {
	namespaces client.Reader
	// fallback is the level of namespaces without a level.
	fallback Level
	log      logr.Logger
}

// of returns the level of a namespace, and a warning if its label is not a level. Cluster-scoped objects, and
// namespaces that cannot be read, have the level of the installation. The self-test is denied even if that level denies
// nothing, because namespaces may be stricter.
func (l levels) of(ctx context.Context, namespace string) (Level, string) {
	switch namespace {
	case "":
		return l.fallback, ""
	case selfTestName:
		return LevelEnforce, ""
	}
	ns := &corev1.Namespace{}
	if err := l.namespaces.Get(ctx, client.ObjectKey{Name: namespace}, ns); client.IgnoreNotFound(err) != nil {
		l.log.Error(err, "the admission level is unknown, so that of the installation is used", "namespace", namespace)
		return l.fallback, ""
	}
	value, ok := ns.Labels[LevelLabel]
	if !ok {
		return l.fallback, ""
	}
	if _, known := deniedAt[Level(value)]; !known {
		return l.fallback, fmt.Sprintf("namespace %s has label %s=%q, which is not a level, so %s holds: use %s",
			namespace, LevelLabel, value, l.fallback, levelNames())
	}
	return Level(value), ""
}
