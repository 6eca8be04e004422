// Package translator turns Kubernetes objects into Envoy resources, the status of the objects, and the requirements for
// the infrastructure. It consists of tables of rows: each row is computed by a pure function from rows of earlier
// tables.
package translator

import (
	acmev1 "github.com/cert-manager/cert-manager/pkg/apis/acme/v1"
	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies"
	"gatehouse/policies/certificate"
	"gatehouse/policies/feature"
	"gatehouse/policies/rules"
	"gatehouse/translator/flow"
)

// Tables is every table of the system, in the order in which they are computed: this list is its map. The function that
// declares a group says what each of its tables is computed from; it is in the file that the group names.
type Tables struct {
	settings    Settings
	rules       *rules.Engine
	graph       *flow.Graph
	in          inputs
	targetKinds map[string]targetKind
	// needs lists what a policy refers to.
	needs func(policies.Kind, policies.Object) []feature.Need

	// ReferenceGrants (grant.go).
	grantsByNamespace *flow.Index[*gwapiv1.ReferenceGrant]
	grantsByReferrer  *flow.Index[*gwapiv1.ReferenceGrant]

	// EndpointSlices (backend_object.go).
	slicesByOwner *flow.Index[*discoveryv1.EndpointSlice]
	namesByOwner  *flow.Index[*discoveryv1.EndpointSlice]
	populated     *flow.Table[[]string]

	// What proxies report (quarantine.go).
	proxiesByFleet *flow.Index[Proxy]
	quarantines    *flow.Table[quarantineRow]

	// GatewayClasses and EnvoyProxies (gateway_class.go).
	classesByProxy  *flow.Index[*gwapiv1.GatewayClass]
	gatewaysByProxy *flow.Index[*gwapiv1.Gateway]
	envoyProxies    *flow.Table[*envoyProxyRow]
	classes         *flow.Table[*classRow]
	usedClasses     *flow.Table[bool]
	classUses       *flow.Table[classUse]

	// Content of Secrets, ConfigMaps and ClusterTrustBundles (content.go).
	content     *flow.Table[contentUse]
	certs       *flow.Table[*certificateRow]
	untimely    *flow.Table[*certificate.Untimely]
	ending      *flow.Table[endingRow]
	usedCerts   *flow.Table[bool]
	authorities *flow.Table[*authorityRow]

	// What cert-manager does for certificates in use (content_issuance.go).
	certificatesBySecret  *flow.Index[*cmv1.Certificate]
	requestsByCertificate *flow.Index[*cmv1.CertificateRequest]
	ordersByRequest       *flow.Index[*acmev1.Order]
	challengesByOrder     *flow.Index[*acmev1.Challenge]
	issuances             *flow.Table[issuanceRow]

	// Gateways and ListenerSets (gateway.go).
	gateways     *flow.Table[*gatewayRow]
	listenerSets *flow.Table[*listenerSetRow]

	// Routes as they are written, and backends (backend_object.go).
	routes           *flow.Table[*routeRow]
	routesByBackend  *flow.Index[*routeRow]
	extensions       *flow.Table[*extensionRow]
	routesByFilter   *flow.Index[*routeRow]
	listedBackends   *flow.Table[*listedRow]
	backends         *flow.Table[*backendObject]
	backendTLS       *flow.Table[*backendTLSRow]
	securing         *attachTables[*backendTLSRow]
	misaimedByObject *flow.Index[*attachment[*backendTLSRow]]
	budgets          *flow.Table[*budgetRow]
	budgeting        *attachTables[*budgetRow]

	// Policies and their targets (policy.go).
	policies        *flow.Table[*policyRow]
	lasting         *flow.Index[*policyRow]
	attached        *attachTables[*policyRow]
	winners         *flow.Table[[]winnerRow]
	listenerWinners *flow.Table[string]

	// Listeners (listener.go).
	entries           *flow.Table[*entryRow]
	holdersOfPorts    *flow.Table[[]holderRow]
	holdersOfHosts    *flow.Table[holderRow]
	firstOfPorts      *flow.Table[*listenerRow]
	listenerPolicies  *flow.Table[*listenerPolicyRow]
	portsSettings     *flow.Table[*portSettingsRow]
	listenersSettings *flow.Table[*listenerSettingsRow]
	listenersTraits   *flow.Table[listenerTraits]
	conflictsByTarget *flow.Index[*listenerSettingsRow]
	unusedByTarget    *flow.Index[*listenerSettingsRow]
	listeners         *flow.Table[*listenerRow]
	verifying         *flow.Table[verifyingRow]
	quic              *flow.Table[quicRow]
	listenersByConfig *flow.Index[*listenerRow]
	listenersByPort   *flow.Index[*listenerRow]
	rivalsByHost      *flow.Index[*listenerRow]
	crowdedPorts      *flow.Table[bool]
	sharedNames       *flow.Table[sharedName]
	ports             *flow.Table[portRow]
	portsByFleet      *flow.Index[portRow]

	// Routes on listeners (route_parent.go).
	claims           *flow.Table[*parentRow]
	claimsByListener *flow.Index[*parentRow]
	contests         *flow.Table[contestRow]
	parents          *flow.Table[*parentRow]
	parentsByRoute   *flow.Index[*parentRow]

	// Policies in effect (policy_merge.go).
	merges            *flow.Table[*mergeRow]
	mergesByPolicy    *flow.Index[*mergeRow]
	mergedPolicies    *flow.Table[*policyRow]
	effectivePolicies *flow.Table[*policyRow]
	policiesByBackend *flow.Index[*policyRow]
	fetches           *flow.Table[*Fetch]
	rateLimits        *flow.Table[*Resource]
	policyEffects     *flow.Table[*effectRow]
	policyFilters     *flow.Table[[]filterConfig]
	policyConnections *flow.Table[feature.Connection]
	commons           *flow.Table[*commonRow]

	// Filters of listeners (listener_filter.go).
	guards          *flow.Table[*guardRow]
	guardsByBackend *flow.Index[*guardRow]

	// Rules and bindings (route.go).
	rulesOf         *flow.Table[*rulesRow]
	rulesByBackend  *flow.Index[*rulesRow]
	bindings        *flow.Table[*bindingRow]
	forwardings     *flow.Index[*bindingRow]
	rejectedByRoute *flow.Index[*bindingRow]

	// Virtual hosts and route configurations (route_virtual_host.go).
	bindingsByHost    *flow.Index[*bindingRow]
	virtualHosts      *flow.Table[*virtualHostRow]
	overlapsByRoute   *flow.Index[*overlapRow]
	scopes            *flow.Table[*Resource]
	hostsByConfig     *flow.Index[*virtualHostRow]
	clustersOfConfigs *flow.Table[string]
	clustersByConfig  *flow.Index[string]
	routeConfigs      *flow.Table[*Resource]

	// Clusters (cluster_endpoints.go).
	clusters       *flow.Table[*clusterRow]
	assignments    *flow.Table[*Resource]
	clusterSecrets *flow.Table[*Resource]
	zonesOfFleets  *flow.Table[*Resource]

	// Envoy's listeners (listener_xds.go).
	listenersBySecret    *flow.Index[*listenerRow]
	secrets              *flow.Table[*Resource]
	quicSecrets          *flow.Table[*Resource]
	chains               *flow.Table[chainRow]
	clientsSecrets       *flow.Table[*Resource]
	offered              []*flow.Table[bool] // which secrets there are, whatever is in them
	listenersOfPorts     *flow.Table[[]*Resource]
	portListeners        *flow.Table[*Resource]
	portListenersByFleet *flow.Index[*Resource]

	// Policies that replace others (status_policy.go).
	overrides          *flow.Table[*overrideRow]
	overridesByBroader *flow.Index[*overrideRow]
	overridesByBelow   *flow.Index[*overrideRow]

	// Statuses and requirements (status.go).
	parentsByListener  *flow.Index[*parentRow]
	attachedByListener *flow.Index[string]
	missingOfFleets    *flow.Table[string]
	envoyProxyStatuses *flow.Table[*Status]
	classStatuses      *flow.Table[*Status]
	setStatuses        *flow.Table[*Status]
	attachedSets       *flow.Table[int32]
	gatewayStatuses    *flow.Table[*Status]
	routeStatuses      *flow.Table[*Status]
	policyStatuses     *flow.Table[*Status]
	backendTLSStatuses *flow.Table[*Status]
	budgetStatuses     *flow.Table[*Status]
	backendStatuses    *flow.Table[*Status]
	extensionStatuses  *flow.Table[*Status]
	requirements       *flow.Table[*Requirement]
}

// NewTables declares the tables. The rules are evaluated on each object that they are about.
func NewTables(s Settings, engine *rules.Engine) *Tables {
	t := &Tables{settings: s, rules: engine, graph: flow.NewGraph(), needs: policies.Kind.Needs}
	t.in = declareInputs(t.graph)
	t.declareTargetKinds()
	t.declareGrants()
	t.declareSlices()
	t.declareProxies()
	t.declareClasses()
	t.declareContent()
	t.declareGateways()
	t.declareExtensions()
	t.declareBackends()
	t.declarePolicies()
	t.declareListeners()
	t.declareParents()
	t.declareMerges()
	t.declareGuards()
	t.declareBindings()
	t.declareVirtualHosts()
	t.declareClusters()
	t.declareEnvoyListeners()
	t.declareOverrides()
	t.declareStatuses()
	return t
}
