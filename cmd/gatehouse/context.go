package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	admissionregv1 "k8s.io/api/admissionregistration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"gatehouse/controller/kube"
	"gatehouse/translator"
	"gatehouse/webhook/offline"
)

// liveCluster is the cluster that files are judged against; none if no context is given.
type liveCluster struct{ context, kubeconfig string }

func (l *liveCluster) register(flags *pflag.FlagSet) {
	flags.StringVar(&l.context, "context", "",
		"context of the kubeconfig whose cluster has everything that is not among the files; without it there is no cluster")
	flags.StringVar(&l.kubeconfig, "kubeconfig", "", "kubeconfig file; without it KUBECONFIG or ~/.kube/config")
}

// read reads what the cluster has stored; nil without a context.
func (l *liveCluster) read(cmd *cobra.Command) (*offline.Stored, error) {
	if l.context == "" {
		if l.kubeconfig != "" {
			return nil, usageError{fmt.Errorf("--kubeconfig without --context: name the context too")}
		}
		return nil, nil
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = l.kubeconfig
	c, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules,
		&clientcmd.ConfigOverrides{CurrentContext: l.context}).ClientConfig()
	if err != nil {
		return nil, usageError{fmt.Errorf("--context %s: %w", l.context, err)}
	}
	c.QPS, c.Burst = 50, 100     // Some hundred lists, one after the other.
	c.Timeout = 30 * time.Second // For each of them.
	cluster, err := client.New(c, client.Options{})
	if err != nil {
		return nil, usageError{fmt.Errorf("--context %s: %w", l.context, err)}
	}
	kinds, err := readKinds()
	if err != nil {
		return nil, err
	}
	shown := newProgress(cmd.ErrOrStderr())
	stored, err := offline.ReadStored(cmd.Context(), cluster, "context "+l.context, kinds, shown.stage)
	shown.end()
	if err != nil {
		return nil, usageError{fmt.Errorf("--context %s: %w", l.context, err)}
	}
	for _, kind := range stored.Hidden {
		cmd.PrintErrf("gatehouse: you may not list %s in context %s, so nothing is said about missing ones: "+
			"ask for the right to list them\n", kind, l.context)
	}
	return stored, nil
}

// readKinds are the kinds that the control plane reads, and those that say what the API server accepts.
func readKinds() ([]schema.GroupKind, error) {
	objects := []client.Object{
		&apiextensionsv1.CustomResourceDefinition{},
		&admissionregv1.ValidatingAdmissionPolicy{}, &admissionregv1.ValidatingAdmissionPolicyBinding{},
		&admissionregv1.MutatingAdmissionPolicy{}, &admissionregv1.MutatingAdmissionPolicyBinding{},
	}
	for _, k := range append(kube.Kinds(), kube.RuleKinds()...) {
		objects = append(objects, k.Object)
	}
	scheme := kube.NewScheme()
	kinds := []schema.GroupKind{translator.ClusterTrustBundles}
	for _, o := range objects {
		kind, err := apiutil.GVKForObject(o, scheme)
		if err != nil {
			return nil, fmt.Errorf("find the kind of %T: %w", o, err)
		}
		kinds = append(kinds, kind.GroupKind())
	}
	return kinds, nil
}
