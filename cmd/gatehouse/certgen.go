package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"gatehouse/controller/kube"
	"gatehouse/infra/certs"
)

// certgenOptions are the flags of certgen.
type certgenOptions struct {
	namespace, domain string
	secret, service   string
	webhooks          string
	overwrite         bool
}

func certgenCommand() *cobra.Command {
	o := certgenOptions{namespace: os.Getenv("POD_NAMESPACE"), domain: os.Getenv("KUBERNETES_CLUSTER_DOMAIN")}
	if o.domain == "" {
		o.domain = "cluster.local"
	}
	cmd := &cobra.Command{
		Use:   "certgen",
		Short: "Make the CA and the serving certificate of the control plane, unless they are there",
		Long: "certgen makes the Secret that gatehouse serve uses for xDS and for its webhook. It is not needed, since serve makes and renews\n" +
			"the Secret itself; it spares the first start some time, and with --overwrite replaces the CA.",
		Example: "  gatehouse certgen --namespace gatehouse-system --overwrite",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.namespace == "" {
				return errors.New("no namespace: set --namespace or the environment variable POD_NAMESPACE")
			}
			c, err := newClient()
			if err != nil {
				return err
			}
			return o.run(cmd.Context(), c, cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVarP(&o.namespace, "namespace", "n", o.namespace, "namespace of the control plane")
	cmd.Flags().StringVar(&o.domain, "cluster-domain", o.domain, "DNS domain of the cluster")
	cmd.Flags().StringVar(&o.secret, "secret", certs.DefaultSecret, "name of the Secret")
	cmd.Flags().StringVar(&o.service, "service", "gatehouse", "name of the Service that the certificate is for")
	cmd.Flags().StringVar(&o.webhooks, "webhook-configuration", "",
		"name of the webhook configurations to tell the CA; serve does it for its own")
	cmd.Flags().BoolVarP(&o.overwrite, "overwrite", "o", false, "replace the CA and the certificate even if they are good")
	return cmd
}

func newClient() (client.Client, error) {
	restConfig, err := ctrl.GetConfig()
	if err != nil {
		return nil, fmt.Errorf("find the API server: %w", err)
	}
	c, err := client.New(restConfig, client.Options{Scheme: kube.NewScheme()})
	if err != nil {
		return nil, fmt.Errorf("make a client of the API server: %w", err)
	}
	return c, nil
}

func (o certgenOptions) run(ctx context.Context, c client.Client, out io.Writer) error {
	ensure := certs.EnsureServing
	if o.overwrite {
		ensure = certs.Replace
	}
	serving, err := ensure(ctx, c, certs.Settings{
		Namespace: o.namespace, Secret: o.secret, DNSNames: certs.ServiceNames(o.service, o.namespace, o.domain),
	})
	if err != nil {
		return err
	}
	if err := certs.Inject(ctx, c, o.webhooks, serving); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "Secret %s/%s holds a certificate for %s until %s\n", o.namespace, o.secret, o.service,
		serving.Leaf.Leaf.NotAfter.Format("2006-01-02 15:04:05 MST"))
	return err
}
