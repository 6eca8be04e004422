package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"gatehouse/api/config"
	"gatehouse/controller/kube"
	"gatehouse/translator"
	"gatehouse/webhook"
	"gatehouse/webhook/offline"
)

// manifestOptions say how manifests are read by commands that show what becomes of them.
type manifestOptions struct {
	namespace, config string
	cluster           liveCluster
	// unvalidated reports whether objects are taken without a look at their CRDs, which takes most of the time.
	unvalidated bool
}

func (o *manifestOptions) register(flags *pflag.FlagSet) {
	flags.StringVarP(&o.namespace, "namespace", "n", "default", "namespace of objects that name none")
	flags.StringVar(&o.config, "config", "", "configuration file of the control plane; without it its defaults hold")
	o.cluster.register(flags)
}

// validNamespace checks the value of --namespace.
func validNamespace(name string) error {
	if problems := validation.IsDNS1123Label(name); len(problems) > 0 {
		return usageError{fmt.Errorf("--namespace: %q is not the name of a namespace: %s", name, problems[0])}
	}
	return nil
}

// translated is what manifests become.
type translated struct {
	*offline.Review
	world *translator.World
	// controller is the name that GatewayClasses give.
	controller string
}

// read translates files and folders over what the cluster has, which is nil without one; "-" is stdin.
func (o *manifestOptions) read(stored *offline.Stored, paths []string, stdin io.Reader) (*translated, error) {
	if err := validNamespace(o.namespace); err != nil {
		return nil, err
	}
	c := config.Default()
	if o.config != "" {
		var err error
		if c, err = config.Load(o.config); err != nil {
			return nil, usageError{err}
		}
	}
	tables, err := newTables(c, translator.Settings{})
	if err != nil {
		return nil, err
	}
	var crds []*apiextensionsv1.CustomResourceDefinition
	if !o.unvalidated {
		if crds, _, err = definitions(); err != nil {
			return nil, err
		}
	}
	world := translator.NewWorld(tables)
	review, err := offline.Files(offline.Options{
		Scheme: kube.NewScheme(), World: world, CRDs: crds, Namespace: o.namespace,
		Level: webhook.LevelEnforce, Stored: stored,
	}, paths, stdin)
	if err != nil {
		return nil, usageError{err}
	}
	return &translated{Review: review, world: world, controller: c.Gateway.ControllerName}, nil
}

// errNothing is returned if manifests make no fleet.
var errNothing = errors.New("no Gateway is translated")

// served returns an error if no Gateway is translated.
func (t *translated) served() error {
	for _, d := range t.Outcome.Deltas {
		if !d.Gone && len(d.Changed) > 0 {
			return nil
		}
	}
	return fmt.Errorf("%w: the files must have the Gateway and its GatewayClass with controllerName %q", errNothing,
		t.controller)
}

// warn says on stderr that something is wrong with the objects.
func (t *translated) warn(cmd *cobra.Command, paths []string) {
	denied, others := t.Denied(), 0
	for i := range t.Findings {
		if f := &t.Findings[i]; !f.Denied && !f.Stored {
			others++
		}
	}
	if denied+others > 0 {
		cmd.PrintErrf("gatehouse: %s and %s in these files: gatehouse check %s\n", plural(denied, "error"),
			plural(others, "warning"), strings.Join(paths, " "))
	}
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
