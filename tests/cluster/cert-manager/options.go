package main

import (
	"fmt"
	"os"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	configv1alpha1 "github.com/cert-manager/cert-manager/pkg/apis/config/controller/v1alpha1"
	sharedv1alpha1 "github.com/cert-manager/cert-manager/pkg/apis/config/shared/v1alpha1"
	"github.com/cert-manager/cert-manager/pkg/controller"
	utilfeature "github.com/cert-manager/cert-manager/pkg/util/feature"
)

// readOptions reads the flags that the chart sets by default, and the configuration file that it writes if its value
// config is set. Other flags are refused. Of the file, the settings that tests need take effect; the others keep the
// defaults of cert-manager.
func readOptions(args []string) (controller.ContextOptions, error) {
	options := controller.ContextOptions{
		KubernetesAPIQPS: 20, KubernetesAPIBurst: 50,
		ACMEOptions: controller.ACMEOptions{
			HTTP01SolverResourceRequestCPU:    resource.MustParse("10m"),
			HTTP01SolverResourceRequestMemory: resource.MustParse("64Mi"),
			HTTP01SolverResourceLimitsCPU:     resource.MustParse("100m"),
			HTTP01SolverResourceLimitsMemory:  resource.MustParse("64Mi"),
			DNS01CheckRetryPeriod:             10 * time.Second,
		},
		IngressShimOptions: controller.IngressShimOptions{
			DefaultIssuerKind: "Issuer", DefaultIssuerGroup: "cert-manager.io",
			DefaultAutoCertificateAnnotations: []string{"kubernetes.io/tls-acme"},
		},
		CertificateOptions: controller.CertificateOptions{
			CopiedAnnotationPrefixes: []string{"*", "-kubectl.kubernetes.io/", "-fluxcd.io/", "-argocd.argoproj.io/"},
		},
	}
	flags := newFlags("controller")
	file := flags.String("config", "", "a file with a ControllerConfiguration")
	flags.StringVar(&options.ClusterResourceNamespace, "cluster-resource-namespace", "kube-system",
		"the namespace of the Secrets of ClusterIssuers")
	flags.StringVar(&options.HTTP01SolverImage, "acme-http01-solver-image", "cert-manager-acmesolver",
		"the image of the pods that answer HTTP-01 challenges")
	flags.IntVar(&options.MaxConcurrentChallenges, "max-concurrent-challenges", 60, "challenges at the same time")
	if err := flags.Parse(args); err != nil {
		return options, err
	}
	return options, configure(&options, *file)
}

// configure sets what the file says. Without a name there is no file.
func configure(options *controller.ContextOptions, file string) error {
	var config configv1alpha1.ControllerConfiguration
	if file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := yaml.UnmarshalStrict(text, &config); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	options.EnableGatewayAPI = ptr.Deref(config.GatewayAPIConfig.Enabled, false)
	options.EnableGatewayAPIListenerSet = ptr.Deref(config.GatewayAPIConfig.EnableListenerSet, false)
	options.HTTP01SolverNameservers = config.ACMEHTTP01Config.SolverNameservers
	options.CertificateRequestMinimumBackoffDuration = duration(config.CertificateRequestMinimumBackoffDuration, time.Hour)
	options.CertificateRequestMaximumBackoffDuration = duration(config.CertificateRequestMaximumBackoffDuration, 32*time.Hour)
	return utilfeature.DefaultMutableFeatureGate.SetFromMap(config.FeatureGates)
}

func duration(d *sharedv1alpha1.Duration, otherwise time.Duration) time.Duration {
	if d == nil {
		return otherwise
	}
	return d.Duration.Duration
}
