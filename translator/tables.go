// Package translator turns Kubernetes objects into Envoy resources, the status of the objects, and the requirements for
// the infrastructure. It consists of tables of rows: each row is computed by a pure function from rows of earlier
// tables.
package translator

import (
	"maps"
	"slices"
	"strings"

	discoveryv1 "k8s.io/api/discovery/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies"
	"gatehouse/policies/certificate"
	"gatehouse/policies/feature"
	"gatehouse/policies/rules"
	"gatehouse/translator/flow"
)

// Settings are what the translation must know of the installation. They do not change while it lives.
type Settings struct {
	// ControllerName is the GatewayClasses' controllerName that is served.
	ControllerName string
	// InGatewayNamespace tells that Envoys run in the namespace of their Gateway rather than in that of the control plane.
	InGatewayNamespace bool
	// ExternalNames lets Services of type ExternalName be backends.
	ExternalNames bool
	// RouteMemory is how much memory of each Envoy one route may take, in bytes; 0 stands for DefaultRouteMemory.
	RouteMemory int64
	// EnabledKinds are the kinds that are to have an effect, of those that have none unless the operator enables them: dormant kinds of policies
	// (policies.Kind), XBackendTrafficPolicy and Backend.
	EnabledKinds []string
	// RetriesDisabled keeps requests that no endpoint got from being tried at another one, unless a route or a policy says so.
	RetriesDisabled bool
}

// Tables is every table of the system, in the order in which they are computed: this file is its map.
type Tables struct {
	settings    Settings
	rules       *rules.Engine
	graph       *flow.Graph
	in          inputs
	targetKinds map[string]targetKind
	// needs lists what a policy refers to.
	needs func(policies.Kind, policies.Object) []feature.Need

	grantsByNamespace *flow.Index[*gwapiv1.ReferenceGrant]
	grantsByReferrer  *flow.Index[*gwapiv1.ReferenceGrant]
	slicesByOwner     *flow.Index[*discoveryv1.EndpointSlice]
	populated         *flow.Table[[]string]
	namesByOwner      *flow.Index[*discoveryv1.EndpointSlice]
	proxiesByFleet    *flow.Index[Proxy]
	classesByProxy    *flow.Index[*gwapiv1.GatewayClass]
	gatewaysByProxy   *flow.Index[*gwapiv1.Gateway]
	quarantines       *flow.Table[quarantineRow]

	fleetSpecs   *flow.Table[*fleetSpecRow]
	classes      *flow.Table[*classRow]
	usedClasses  *flow.Table[bool]
	classUses    *flow.Table[classUse]
	content      *flow.Table[contentUse]
	certs        *flow.Table[*certificateRow]
	untimely     *flow.Table[*certificate.Untimely]
	authorities  *flow.Table[*authorityRow]
	gateways     *flow.Table[*gatewayRow]
	listenerSets *flow.Table[*listenerSetRow]

	routes              *flow.Table[*routeRow]
	policies            *flow.Table[*policyRow]
	attached            *flow.Table[*attachmentRow]
	attachmentsByPolicy *flow.Index[*attachmentRow]
	policiesByService   *flow.Index[*policyRow]
	fetches             *flow.Table[*Fetch]
	targets             *flow.Table[*targetRow]
	winners             *flow.Table[[]winnerRow]
	merges              *flow.Table[*mergeRow]
	mergesByPolicy      *flow.Index[*mergeRow]
	mergedPolicies      *flow.Table[*policyRow]
	effectivePolicies   *flow.Table[*policyRow]
	listenerWinners     *flow.Table[string]
	policyEffects       *flow.Table[*effectRow]
	policyFilters       *flow.Table[[]filterConfig]

	entries           *flow.Table[*entryRow]
	holdersOfPorts    *flow.Table[[]holderRow]
	holdersOfHosts    *flow.Table[holderRow]
	firstOfPorts      *flow.Table[*listenerRow]
	listenerPolicies  *flow.Table[*listenerPolicyRow]
	portsSettings     *flow.Table[*portSettingsRow]
	listenersSettings *flow.Table[*listenerSettingsRow]
	listenersTraits   *flow.Table[listenerTraits]
	conflictsByTarget *flow.Index[*listenerSettingsRow]
	listeners         *flow.Table[*listenerRow]
	listenersByPort   *flow.Index[*listenerRow]
	rivalsByHost      *flow.Index[*listenerRow]
	crowdedPorts      *flow.Table[bool]
	sharedNames       *flow.Table[sharedName]
	listenersBySecret *flow.Index[*listenerRow]
	listenersByConfig *flow.Index[*listenerRow]
	ports             *flow.Table[portRow]
	portsByFleet      *flow.Index[portRow]

	listedBackends  *flow.Table[*listedRow]
	routesByBackend *flow.Index[*routeRow]
	backends        *flow.Table[*backendObject]

	backendTLS         *flow.Table[*backendTLSRow]
	backendTLSTargets  *flow.Table[*backendTLSRow]
	backendTLSByObject *flow.Index[*backendTLSRow]

	budgets       *flow.Table[*budgetRow]
	budgetTargets *flow.Table[*budgetRow]

	guards          *flow.Table[*guardRow]
	guardsByService *flow.Index[*guardRow]

	commons        *flow.Table[*commonRow]
	rulesOf        *flow.Table[*rulesRow]
	rulesByService *flow.Index[*rulesRow]
	claims         *flow.Table[*parentRow]
	contests       *flow.Table[contestRow]
	parents        *flow.Table[*parentRow]
	parentsByRoute *flow.Index[*parentRow]
	bindings       *flow.Table[*bindingRow]
	forwardings    *flow.Index[*bindingRow]
	refusedByRoute *flow.Index[*bindingRow]

	virtualHosts         *flow.Table[*virtualHostRow]
	overlapsByRoute      *flow.Index[*overlapRow]
	hostsByConfig        *flow.Index[*virtualHostRow]
	clustersOfConfigs    *flow.Table[string]
	clustersByConfig     *flow.Index[string]
	scopes               *flow.Table[*Resource]
	routeConfigs         *flow.Table[*Resource]
	clusters             *flow.Table[*clusterRow]
	assignments          *flow.Table[*Resource]
	secrets              *flow.Table[*Resource]
	clusterSecrets       *flow.Table[*Resource]
	listenersOfPorts     *flow.Table[[]*Resource]
	portListeners        *flow.Table[*Resource]
	portListenersByFleet *flow.Index[*Resource]

	attachedRoutes     *flow.Table[int32]
	missingOfFleets    *flow.Table[string]
	attachedSets       *flow.Table[int32]
	overrides          *flow.Table[*overrideRow]
	overridesByBroader *flow.Index[*overrideRow]
	overridesByBelow   *flow.Index[*overrideRow]
	fleetSpecStatuses  *flow.Table[*Status]
	classStatuses      *flow.Table[*Status]
	setStatuses        *flow.Table[*Status]
	gatewayStatuses    *flow.Table[*Status]
	routeStatuses      *flow.Table[*Status]
	policyStatuses     *flow.Table[*Status]
	backendTLSStatuses *flow.Table[*Status]
	budgetStatuses     *flow.Table[*Status]
	backendStatuses    *flow.Table[*Status]
	requirements       *flow.Table[*Requirement]
}

// NewTables declares the tables. The rules are evaluated on each object that they are about.
func NewTables(s Settings, engine *rules.Engine) *Tables {
	t := &Tables{settings: s, rules: engine, graph: flow.NewGraph(), needs: policies.Kind.Needs}
	t.in = declareInputs(t.graph)
	t.declareTargetKinds()
	t.declareRelations()
	t.declareResources()
	t.declareOutcomes()
	return t
}

// declareRelations: who refers to whom, and what is wrong with it.
func (t *Tables) declareRelations() {
	t.grantsByNamespace = flow.NewIndex(t.in.grants, "grants by namespace", func(_ string, g *gwapiv1.ReferenceGrant) []string { return []string{g.Namespace} })
	t.grantsByReferrer = flow.NewIndex(t.in.grants, "grants by referrer", grantedReferrers)
	t.slicesByOwner = flow.NewIndex(t.in.slices, "slices by owner", ownersOf)
	t.namesByOwner = flow.NewIndex(t.in.slices, "slices of names by owner", ownersOfNames)
	t.populated = flow.Group(t.slicesByOwner, "backends with endpoints", slices.Equal[[]string], t.populatedPorts)
	t.proxiesByFleet = flow.NewIndex(t.in.proxies, "proxies by fleet", func(_ string, p Proxy) []string { return []string{p.Fleet} })
	t.classesByProxy = flow.NewIndex(t.in.classes, "classes by EnvoyProxy", proxyOfClass)
	t.gatewaysByProxy = flow.NewIndex(t.in.gateways, "Gateways by EnvoyProxy", proxyOfGateway)
	t.quarantines = flow.Group(t.proxiesByFleet, "quarantines", maps.Equal[quarantineRow, quarantineRow], t.quarantine)

	t.fleetSpecs = flow.Derive(t.in.proxySpecs, "fleet settings", (*fleetSpecRow).equal, t.fleetSpec)
	t.classes = flow.Derive(t.in.classes, "classes", (*classRow).equal, t.class)
	t.usedClasses = flow.Group(flow.NewIndex(t.in.gateways, "Gateways by class", namedClass), "used classes", flow.Same[bool], anyMember)
	t.classUses = flow.Derive(t.classes, "uses of classes", flow.Same[classUse], t.classUse)
	t.declareContent()
	t.gateways = flow.Derive(t.in.gateways, "gateways", (*gatewayRow).equal, t.gateway)
	t.listenerSets = flow.Derive(t.in.listenerSets, "listener sets", (*listenerSetRow).equal, t.listenerSet)
	t.declarePolicies()
	t.declareListeners()
	t.declareAttachments()
}

// declareContent: what is parsed of Secrets, ConfigMaps and ClusterTrustBundles.
func (t *Tables) declareContent() {
	t.content = flow.Concat("used content", flow.Same[contentUse],
		flow.Expand(t.in.gateways, "content of Gateways", flow.Same[contentUse], t.gatewayContent),
		flow.Expand(t.in.listenerSets, "content of ListenerSets", flow.Same[contentUse], t.listenerSetContent),
		flow.Expand(t.in.backendTLS, "content of backend TLS policies", flow.Same[contentUse], backendTLSContent))
	certs := flow.Group(flow.NewIndex(t.content, "certificates", usedCertificates), "used certificates", flow.Same[bool], isUsed)
	t.certs = flow.Derive(certs, "certificates", (*certificateRow).equal, t.certificate)
	t.untimely = flow.Derive(t.certs, "untimely certificates", equalUntimely, t.untimelyCertificate)
	authorities := flow.Group(flow.NewIndex(t.content, "CA certificates", usedAuthorities), "used CA certificates", flow.Same[bool], isUsed)
	t.authorities = flow.Derive(authorities, "CA certificates", (*authorityRow).equal, t.authority)
}

// declarePolicies: what policies say and where they are attached. Routes, which they target, and backends, which they need,
// come first.
func (t *Tables) declarePolicies() {
	t.routes = flow.Derive(t.in.routes, "routes", (*routeRow).equal, t.route)
	t.routesByBackend = flow.NewIndex(t.routes, "routes by Backend", namedBackends)
	t.listedBackends = flow.Derive(t.in.backends, "Backends with their problems", (*listedRow).equal, t.listed)
	t.backends = t.backendObjects()
	t.backendTLS = flow.Derive(t.in.backendTLS, "backend TLS policies", (*backendTLSRow).equal, t.backendTLSPolicy)
	t.backendTLSByObject = flow.NewIndex(t.backendTLS, "backend TLS policies by object", securedObjects)
	t.backendTLSTargets = flow.Group(flow.NewIndex(t.backendTLS, "backend TLS policies by target", securedTargets), "backend TLS targets", (*backendTLSRow).equal, t.backendTLSWinner)

	t.budgets = flow.Derive(t.in.budgets, "retry budgets", (*budgetRow).equal, t.budgetPolicy)
	t.budgetTargets = flow.Group(flow.NewIndex(t.budgets, "retry budgets by target", budgetTargets), "retry budget targets", (*budgetRow).equal, t.budgetWinner)

	t.policies = flow.Derive(t.in.policies, "policies", (*policyRow).equal, t.policy)
	t.attached = flow.Expand(t.policies, "attachments", (*attachmentRow).equal, t.attachments)
	t.attachmentsByPolicy = flow.NewIndex(t.attached, "attachments by policy", func(_ string, a *attachmentRow) []string { return []string{a.Policy.ref().String()} })
	t.targets = flow.Group(flow.NewIndex(t.attached, "attachments by target", func(_ string, a *attachmentRow) []string {
		return []string{placeKey(a.Target)}
	}), "targets", (*targetRow).equal, t.target)
	t.winners = flow.Derive(t.targets, "policies of targets", slices.Equal[[]winnerRow], t.winnersOf)
	t.listenerWinners = flow.Derive(t.targets, "listener policies of targets", flow.Same[string], t.listenerWinner)
}

// declareListeners: the listeners of all fleets, whoever wrote them.
func (t *Tables) declareListeners() {
	t.entries = flow.Concat("listener entries", (*entryRow).equal,
		flow.Expand(t.gateways, "entries of Gateways", (*entryRow).equal, t.gatewayEntries),
		flow.Expand(t.listenerSets, "entries of ListenerSets", (*entryRow).equal, t.setEntries))
	t.holdersOfPorts = flow.Group(flow.NewIndex(t.entries, "entries by port", claimedPorts), "holders of ports", slices.Equal[[]holderRow], t.portHolders)
	t.holdersOfHosts = flow.Group(flow.NewIndex(t.entries, "entries by host", claimedHosts), "holders of hosts", flow.Same[holderRow], t.hostHolder)
	judged := flow.Derive(t.entries, "judged listeners", (*listenerRow).equal, t.listener)
	judgedByPort := flow.NewIndex(judged, "judged listeners by port", servedPort)
	t.firstOfPorts = flow.Group(judgedByPort, "first listeners of ports", (*listenerRow).equal,
		func(_ *flow.Read, _ string, members []flow.Row[*listenerRow]) (*listenerRow, bool) {
			return first(members), true
		})
	t.listenerPolicies = flow.Derive(judged, "policies of listeners", (*listenerPolicyRow).equal, t.listenerPolicy)
	t.portsSettings = flow.Group(judgedByPort, "settings of ports", (*portSettingsRow).equal, t.portSettings)
	t.listenersSettings = flow.Derive(judged, "settings of listeners", (*listenerSettingsRow).equal, t.listenerSettings)
	t.listenersTraits = flow.Derive(t.listenersSettings, "traits of listeners", flow.Same[listenerTraits], traitsOf)
	t.conflictsByTarget = flow.NewIndex(t.listenersSettings, "conflicts by target", conflictTargets)
	t.listeners = flow.Derive(judged, "listeners", (*listenerRow).equal, t.withhold)
	t.listenersByPort = flow.NewIndex(t.listeners, "served listeners by port", servedPort)
	t.rivalsByHost = flow.NewIndex(t.listeners, "rivals by host", rivalKeys)
	t.crowdedPorts = flow.Group(flow.NewIndex(t.listeners, "listeners by port with TLS", sharedBySNI), "crowded ports", flow.Same[bool], crowded)
	t.sharedNames = flow.Group(flow.NewIndex(t.listeners, "listeners by name of certificate", certificateNames), "names of certificates", equalSharedNames, shareName)
	t.ports = flow.Group(t.listenersByPort, "ports", flow.Same[portRow], t.port)
	t.portsByFleet = flow.NewIndex(t.ports, "ports by fleet", func(_ string, p portRow) []string { return []string{p.Fleet} })
}

// declareAttachments: what hangs on listeners.
func (t *Tables) declareAttachments() {
	t.declareParents()
	t.merges = flow.Expand(t.attached, "merges", (*mergeRow).equal, t.merge)
	t.mergesByPolicy = flow.NewIndex(t.merges, "merges by policy", func(_ string, m *mergeRow) []string { return []string{m.Policy.String()} })
	combined := flow.Group(flow.NewIndex(t.merges, "combinations", combinations), "combinations of policies", flow.Same[bool], anyMember)
	t.mergedPolicies = flow.Derive(combined, "merged policies", (*policyRow).equal, t.mergedPolicy)
	t.effectivePolicies = flow.Concat("effective policies", (*policyRow).equal, t.policies, t.mergedPolicies)
	t.policiesByService = flow.NewIndex(t.effectivePolicies, "policies by Service", neededServices)
	t.fetches = flow.Group(flow.NewIndex(t.effectivePolicies, "policies by fetched content", fetchedBy), "content to fetch", equalFetches, t.fetch)
	t.policyEffects = flow.Derive(t.effectivePolicies, "effects of policies", (*effectRow).equal, t.effect)
	t.policyFilters = flow.Derive(t.effectivePolicies, "filters of policies", equalFilterConfigs, t.filterConfigs)
	t.listenersByConfig = flow.NewIndex(t.listeners, "listeners by route configuration", sharedConfig)
	t.commons = flow.Group(t.listenersByConfig, "policies of route configurations", (*commonRow).equal, t.common)

	t.guards = flow.Derive(t.listeners, "filters of listeners", (*guardRow).equal, t.guard)
	t.guardsByService = flow.NewIndex(t.guards, "filters of listeners by Service", askedServices)

	t.rulesOf = flow.Derive(t.routes, "rules", (*rulesRow).equal, t.routeRules)
	t.rulesByService = flow.NewIndex(t.rulesOf, "rules by Service", usedServices)
	t.bindings = flow.Concat("all bindings", (*bindingRow).equal,
		flow.Expand(t.parents, "bindings", (*bindingRow).equal, t.binding),
		flow.Expand(t.guards, "bindings of filters", (*bindingRow).equal, t.guardBinding))
	t.forwardings = flow.NewIndex(t.bindings, "bindings of layer 4 by listener", forwardingListener)
	t.refusedByRoute = flow.NewIndex(t.bindings, "refused bindings by route", refusedRoutes)
}

// declareParents: the listeners that routes are attached to.
func (t *Tables) declareParents() {
	t.claims = flow.Expand(t.routes, "claims", (*parentRow).equal, t.parent)
	t.contests = flow.Group(flow.NewIndex(t.claims, "claims by listener", contested), "contests", equalContests, t.contest)
	t.parents = flow.Derive(t.claims, "parents", (*parentRow).equal, t.settle)
	t.parentsByRoute = flow.NewIndex(t.parents, "parents by route", func(_ string, p *parentRow) []string { return []string{p.Route.Key} })
}

// declareResources: what Envoy gets. Keys begin with the fleet, see splitKey.
func (t *Tables) declareResources() {
	t.virtualHosts = flow.Group(flow.NewIndex(t.bindings, "bindings by host", boundHosts), "virtual hosts", (*virtualHostRow).equal, t.virtualHost)
	t.overlapsByRoute = flow.NewIndex(flow.Expand(t.virtualHosts, "overlaps", (*overlapRow).equal, t.overlaps), "overlaps by route", overlappingRoutes)
	t.scopes = flow.Derive(t.virtualHosts, "scopes", equalResources, t.scope)
	t.hostsByConfig = flow.NewIndex(t.virtualHosts, "hosts by route configuration", hostConfig)
	t.clustersOfConfigs = flow.Group(flow.NewIndex(t.virtualHosts, "hosts by cluster", hostClusters), "clusters of route configurations", flow.Same[string],
		func(_ *flow.Read, key string, _ []flow.Row[*virtualHostRow]) (string, bool) {
			_, cluster := splitLast(key)
			return cluster, true
		})
	t.clustersByConfig = flow.NewIndex(t.clustersOfConfigs, "clusters by route configuration", func(key string, _ string) []string {
		config, _ := splitLast(key)
		return []string{config}
	})
	t.routeConfigs = flow.Group(t.listenersByConfig, "route configurations", equalResources, t.routeConfig)
	t.clusters = flow.Group(flow.NewIndex(t.bindings, "bindings by cluster", boundClusters), "clusters", (*clusterRow).equal, t.cluster)
	t.assignments = flow.Derive(t.clusters, "endpoints", equalResources, t.endpoints)
	t.clusterSecrets = flow.Group(flow.NewIndex(t.clusters, "clusters by secret", clusterSecrets), "secrets of clusters", equalResources, t.clusterSecret)
	t.listenersBySecret = flow.NewIndex(t.listeners, "listeners by Secret", servedSecrets)
	t.secrets = flow.Group(t.listenersBySecret, "secrets", equalResources, t.secretResource)
	t.listenersOfPorts = flow.Group(t.listenersByPort, "Envoy listeners by port", equalResourceLists, t.listenersOfPort)
	t.portListeners = flow.Expand(t.listenersOfPorts, "Envoy listeners", equalResources, eachListener)
	t.portListenersByFleet = flow.NewIndex(t.portListeners, "Envoy listeners by fleet", func(key string, _ *Resource) []string {
		fleet, _ := splitKey(key)
		return []string{fleet}
	})
}

// declareOutcomes: what is said and asked for.
func (t *Tables) declareOutcomes() {
	t.attachedRoutes = flow.Group(flow.NewIndex(t.parents, "parents by listener", attachedTo), "attached routes", flow.Same[int32], t.countRoutes)
	t.missingOfFleets = flow.Expand(t.gateways, "missing", flow.Same[string], t.missing)
	t.overrides = flow.Derive(t.attached, "overrides", (*overrideRow).equal, t.override)
	t.overridesByBroader = flow.NewIndex(t.overrides, "overrides by broader target", func(_ string, o *overrideRow) []string { return o.Broader })
	t.overridesByBelow = flow.NewIndex(t.overrides, "overrides by target below", func(_ string, o *overrideRow) []string { return o.Below })
	t.fleetSpecStatuses = flow.Derive(t.fleetSpecs, "fleet settings statuses", (*Status).equal, t.fleetSpecStatus)
	t.classStatuses = flow.Derive(t.in.classes, "class statuses", (*Status).equal, t.classStatus)
	t.setStatuses = flow.Derive(t.in.listenerSets, "listener set statuses", (*Status).equal, t.listenerSetStatus)
	t.attachedSets = flow.Group(flow.NewIndex(t.setStatuses, "accepted listener sets by Gateway", acceptedBy), "attached listener sets", flow.Same[int32], countSets)
	t.gatewayStatuses = flow.Derive(t.in.gateways, "gateway statuses", (*Status).equal, t.gatewayStatus)
	t.routeStatuses = flow.Derive(t.routes, "route statuses", (*Status).equal, t.routeStatus)
	t.policyStatuses = flow.Derive(t.policies, "policy statuses", (*Status).equal, t.policyStatus)
	t.backendTLSStatuses = flow.Derive(t.backendTLS, "backend TLS policy statuses", (*Status).equal, t.backendTLSStatus)
	t.budgetStatuses = flow.Derive(t.budgets, "retry budget statuses", (*Status).equal, t.budgetStatus)
	t.backendStatuses = flow.Derive(t.listedBackends, "Backend statuses", (*Status).equal, t.backendStatus)
	t.requirements = flow.Derive(t.gateways, "requirements", (*Requirement).equal, t.requirement)
}

func boundHosts(_ string, b *bindingRow) []string {
	keys := make([]string, len(b.Hosts))
	for i, h := range b.Hosts {
		keys[i] = b.Config + "|" + h.Host
	}
	return keys
}

func hostConfig(key string, v *virtualHostRow) []string {
	if v.Scoped {
		return nil
	}
	config, _ := splitLast(key)
	return []string{config}
}

func hostClusters(key string, v *virtualHostRow) []string {
	if v.Scoped {
		return nil
	}
	config, _ := splitLast(key)
	keys := make([]string, len(v.Clusters))
	for i, c := range v.Clusters {
		keys[i] = config + "|" + c
	}
	return keys
}

func boundClusters(_ string, b *bindingRow) []string {
	keys := make([]string, len(b.Clusters))
	for i, c := range b.Clusters {
		keys[i] = b.Fleet + "|" + c.Name
	}
	return keys
}

func attachedTo(_ string, p *parentRow) []string {
	keys := make([]string, len(p.Listeners))
	for i, l := range p.Listeners {
		keys[i] = l.Listener.Key
	}
	return keys
}

// splitKey parts the key of a resource's row into the fleet and the rest.
func splitKey(key string) (fleet, rest string) {
	fleet, rest, _ = strings.Cut(key, "|")
	return fleet, rest
}

// splitLast parts the key of a virtual host's row into that of its route configuration and the host.
func splitLast(key string) (config, host string) {
	i := strings.LastIndexByte(key, '|')
	return key[:i], key[i+1:]
}
