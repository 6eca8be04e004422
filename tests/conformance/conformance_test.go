// Package conformance runs Gateway API's official conformance suite against Gatehouse on the local Kubernetes (make
// conformance). The suite, its manifests and its judgement are those of its module, untouched; what is here only
// chooses all of it and counts.
package conformance

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"sigs.k8s.io/gateway-api/conformance"
	"sigs.k8s.io/gateway-api/conformance/utils/suite"
	"sigs.k8s.io/gateway-api/pkg/features"

	confv1 "sigs.k8s.io/gateway-api/conformance/apis/v1"
)

var refusedOutput = flag.String("refused-output", "",
	"the file to write what admission at level enforce denies to; the base resources must stay")

// clusterVariable is set for what runs inside a local cluster's network (cluster exec).
const clusterVariable = "GATEHOUSE_CLUSTER_DIR"

var implementation = confv1.Implementation{
	Organization: "gatehouse",
	Project:      "gatehouse",
	URL:          "https://gatehouse.dev",
	Contact:      []string{"https://gatehouse.dev"},
}

// profiles are all that are about Gateways; those about meshes are out of scope.
var profiles = []suite.ConformanceProfileName{
	suite.GatewayHTTPConformanceProfileName,
	suite.GatewayGRPCConformanceProfileName,
	suite.GatewayTLSConformanceProfileName,
	suite.GatewayTCPConformanceProfileName,
	suite.GatewayUDPConformanceProfileName,
}

// mayLack are the features that may be missing in a mode: in the default one the Envoys do not run in their Gateway's
// namespace.
var mayLack = map[string][]features.FeatureName{
	"default": {features.SupportGatewayInfrastructure},
}

// TestConformance runs the suite with the features that the GatewayClass's own status lists, and fails if that is not
// everything.
func TestConformance(t *testing.T) {
	if os.Getenv(clusterVariable) == "" {
		t.Skip("the suite dials addresses that only the local Kubernetes has; run make conformance")
	}
	options := conformance.DefaultOptions(t)
	version := options.Implementation.Version
	options.Implementation = implementation
	options.Implementation.Version = version
	whole := options.RunTest == "" && len(options.ConformanceProfiles) == 0
	if len(options.ConformanceProfiles) == 0 {
		options.ConformanceProfiles = profiles
	}
	if options.RunTest != "" { // Then the suite asks for a list, since it does not look at the status.
		options.SupportedFeatures = gatewayFeatures().UnsortedList()
	}
	report := options.ReportOutputPath
	if report != "" {
		options.ReportOutputPath = filepath.Join(t.TempDir(), "report.yaml")
	}
	counts := newCounts(os.Stderr)
	options.Hook = counts.record
	t.Cleanup(func() { // The suite's report is written before.
		counts.print()
		if whole {
			counts.mustBeAll(t, mayLack[options.Mode])
		}
		if report != "" {
			mustSupportAll(t, options.ReportOutputPath, mayLack[options.Mode])
			keepReport(t, options.ReportOutputPath, report)
		}
		if *refusedOutput != "" {
			writeRefusals(t, &options, *refusedOutput)
		}
	})
	conformance.RunConformanceWithOptions(t, options)
}

// gatewayFeatures are all features of Gateway API but those of meshes.
func gatewayFeatures() suite.FeaturesSet {
	return features.SetsToNamesSet(features.AllFeatures).Difference(features.SetsToNamesSet(features.MeshCoreFeatures,
		features.MeshExtendedFeatures))
}
