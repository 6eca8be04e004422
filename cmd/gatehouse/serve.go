package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"gatehouse/api/config"
	"gatehouse/infra/certs"
	"gatehouse/translator"
	"gatehouse/webhook"
)

// installation is where the control plane runs, from the environment of the pod. The chart sets all of it.
type installation struct {
	namespace, pod, address, domain string
	envoyImage, gatehouseImage      string
	rateLimitImage                  string
	pullSecrets                     []corev1.LocalObjectReference
	// gatehousePullPolicy may be empty.
	gatehousePullPolicy corev1.PullPolicy
	// memory is the memory limit of the container in bytes; zero if it is unknown.
	memory int
}

// defaultEnvoyImage is the Envoy image that this version is tested with.
const defaultEnvoyImage = "docker.io/envoyproxy/envoy:distroless-v1.40.0"

// defaultDomain is the domain of a cluster unless the chart says another one.
const defaultDomain = "cluster.local"

func readInstallation(getenv func(string) string) (installation, error) {
	in := installation{
		namespace: getenv("POD_NAMESPACE"), pod: getenv("POD_NAME"), address: getenv("POD_IP"),
		domain:     getenv("KUBERNETES_CLUSTER_DOMAIN"),
		envoyImage: getenv("ENVOY_IMAGE"), gatehouseImage: getenv("GATEHOUSE_IMAGE"),
		rateLimitImage:      getenv("RATE_LIMIT_IMAGE"),
		gatehousePullPolicy: corev1.PullPolicy(getenv("GATEHOUSE_PULL_POLICY")),
	}
	if in.domain == "" {
		in.domain = defaultDomain
	}
	if in.rateLimitImage == "" {
		in.rateLimitImage = defaultRateLimitImage
	}
	if in.envoyImage == "" {
		in.envoyImage = defaultEnvoyImage
	}
	for name := range strings.FieldsSeq(getenv("IMAGE_PULL_SECRETS")) {
		in.pullSecrets = append(in.pullSecrets, corev1.LocalObjectReference{Name: name})
	}
	var wrong []error
	if limit := getenv("MEMORY_LIMIT"); limit != "" {
		bytes, err := strconv.Atoi(limit)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("environment variable MEMORY_LIMIT is %q: set it to a number of bytes", limit))
		}
		in.memory = bytes
	}
	for name, value := range map[string]string{
		"POD_NAMESPACE": in.namespace, "POD_NAME": in.pod, "POD_IP": in.address,
		"GATEHOUSE_IMAGE": in.gatehouseImage,
	} {
		if value == "" {
			wrong = append(wrong, fmt.Errorf("environment variable %s is not set: set it as the Helm chart does", name))
		}
	}
	return in, errors.Join(wrong...)
}

// serveOptions are the flags of serve.
type serveOptions struct {
	config        string
	failurePolicy string
	webhook       bool
	// admissionLevel is the level of admission in Namespaces without the label.
	admissionLevel string
	// excluded are the namespaces whose objects the API server does not send to the webhook.
	excluded []string
	// breakGlass is what the break-glass annotation may overrule.
	breakGlass string
	// certificateRefs reports whether Secrets are named in listeners for which cert-manager is asked to issue certificates.
	certificateRefs bool
	// clientCA is a file with the CA certificates (PEM) of clients that may call the webhook; empty allows everybody.
	clientCA      string
	debugAddress  string
	shutdownDelay time.Duration
	// cacheDirectory is for large content that was fetched.
	cacheDirectory string
	// certificateFrom is the Secret that cert-manager fills, empty for the own CA, and certificateOverlap how long clients may
	// take to learn of another CA.
	certificateFrom    string
	certificateOverlap time.Duration
	// tables is what flags say of the translation.
	tables translator.Settings
	// injectCA is whether the webhook configurations are told the CA.
	injectCA bool
}

func serveCommand() *cobra.Command {
	o := serveOptions{}
	cmd := &cobra.Command{
		Use:     "serve",
		Aliases: []string{"server"},
		Short:   "Run the control plane: admission webhook, xDS server and controllers",
		Example: "  gatehouse serve --config /config/gatehouse.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.tables.ExpiryWarning <= 0 {
				return fmt.Errorf("--certificate-expiry-warning is %v: give it a duration above 0, such as 336h", o.tables.ExpiryWarning)
			}
			c, err := o.load()
			if err != nil {
				return err
			}
			in, err := readInstallation(os.Getenv)
			if err != nil {
				return err
			}
			return serve(cmd.Context(), c, in, o)
		},
	}
	cmd.Flags().StringVarP(&o.config, "config", "c", "", "file of kind EnvoyGateway; without it the defaults hold")
	cmd.Flags().StringVar(&o.failurePolicy, "webhook-failure-policy", "Auto",
		"what the API server does when no replica answers: Ignore, Fail, or Auto: Fail once a self-test has passed and two replicas are ready")
	cmd.Flags().BoolVar(&o.webhook, "webhook", true, "serve the admission webhook")
	cmd.Flags().StringVar(&o.admissionLevel, "admission-level", string(webhook.LevelEnforce),
		"how strict admission is in namespaces without label "+webhook.LevelLabel+": off, warn (deny nothing), enforce, or strict (deny what is missing too)")
	cmd.Flags().StringSliceVar(&o.excluded, "admission-excluded-namespaces", []string{"kube-system"},
		"namespaces whose objects the API server does not send to the webhook, so that stored ones are not judged by AdmissionRules either")
	cmd.Flags().StringVar(&o.breakGlass, "admission-break-glass", string(webhook.BreakGlassVerdicts),
		"what annotation "+webhook.BreakGlassAnnotation+" overrules: forbidden (nothing), verdicts (denials because of the object itself), or rules (AdmissionRules too)")
	cmd.Flags().BoolVar(&o.certificateRefs, "admission-certificate-refs", true,
		"name a Secret in HTTPS listeners without certificateRefs whose Gateway or ListenerSet names an issuer of cert-manager")
	cmd.Flags().StringVar(&o.clientCA, "webhook-client-ca", "",
		"file with the CA certificates of the client certificate that the API server shows to webhooks; without it the webhook answers everybody")
	cmd.Flags().StringVar(&o.debugAddress, "debug-address", "127.0.0.1:19000",
		"where to serve pages that show tables, rows, batches, proxies and profiles, without authentication; empty for nowhere")
	cmd.Flags().DurationVar(&o.shutdownDelay, "shutdown-delay-duration", 3*time.Second,
		"how long to serve on after SIGTERM, until the API server and the Envoys have turned to other replicas")
	cmd.Flags().StringVar(&o.cacheDirectory, "cache-directory", "/cache",
		"directory of this replica alone for large content that it fetches; it should last as long as the pod")
	cmd.Flags().StringVar(&o.certificateFrom, "certificate-from", "",
		"Secret of the own namespace that cert-manager fills with the certificate for xDS and the webhook; without it gatehouse has a CA of its own")
	cmd.Flags().DurationVar(&o.certificateOverlap, "certificate-overlap", certs.DefaultOverlap,
		"how long Envoys and API servers may take to learn of another CA, before a certificate of it is served")
	cmd.Flags().DurationVar(&o.tables.ExpiryWarning, "certificate-expiry-warning", translator.DefaultExpiryWarning,
		"how long before the certificate of a listener expires its status and an Event tell of it; three tenths of its lifetime if that is shorter")
	cmd.Flags().StringVar(&o.tables.ClusterResourceNamespace, "cluster-resource-namespace", translator.DefaultClusterResourceNamespace,
		"the namespace in which cert-manager looks for the Secrets of ClusterIssuers, as its own flag of this name says")
	cmd.Flags().BoolVar(&o.injectCA, "webhook-ca-injection", true,
		"write the CA into the webhook configurations; false leaves it to cert-manager's cainjector")
	return cmd
}

func (o *serveOptions) load() (*config.EnvoyGateway, error) {
	if o.config == "" {
		return config.Default(), nil
	}
	return config.Load(o.config)
}

// serve runs until a short delay after the context ends: other processes learn of the shutdown later, and send requests
// until then.
func serve(ctx context.Context, c *config.EnvoyGateway, in installation, o serveOptions) error {
	p, err := newPlane(ctx, c, in, o)
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	context.AfterFunc(ctx, func() { time.AfterFunc(o.shutdownDelay, stop) })
	return p.run(running)
}

// drain is how long open connections may continue after the shutdown has begun.
const drain = 10 * time.Second
