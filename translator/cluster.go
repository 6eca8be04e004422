package translator

import (
	"fmt"
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	corev1 "k8s.io/api/core/v1"

	"gatehouse/policies"
	"gatehouse/policies/feature"
	"gatehouse/policies/healthcheck"
	"gatehouse/policies/useclientprotocol"
	"gatehouse/translator/flow"
)

// unusableCluster is the name of a cluster that never exists: the share of backends that cannot be used goes there and
// is answered with 500 by cluster_not_found_response_code.
const unusableCluster = "invalid-backend-cluster"

// rulePrefix begins the names of clusters that hold several backends of a rule.
const rulePrefix = "rule/"

const (
	typeCluster   = typePrefix + "envoy.config.cluster.v3.Cluster"
	typeEndpoints = typePrefix + "envoy.config.endpoint.v3.ClusterLoadAssignment"
	httpOptions   = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
)

// clusterUse is what a cluster is made of. Its name contains everything, so two uses with the same name are equal. All
// rules that use the backend in the same way share it, so reordering or inserting rules renames nothing.
type clusterUse struct {
	Name     string
	Backends []backend
	// Lost is the weight of the backends that cannot be used. Their share of the requests fails.
	Lost uint32
	// Shapes are what policies say about the cluster, by the index of their kind; nil where there is none.
	Shapes []*clusterShape
	// Client is the name of the SDS secret with the certificate that is presented to backends with TLS, empty for none.
	Client string
	// Follows reports whether a policy has requests be forwarded in the version of HTTP of the client.
	Follows bool
	// Once is the same for all clusters of an installation, see feature.Upstream.
	Once bool
	// Host is the host that health checks ask for, see feature.Upstream. It is empty if none asks for one.
	Host string
	// OfService reports whether requests go to the addresses of Services if no policy says otherwise.
	OfService bool
	// Modules are those of the fleet. They are left out where no policy shapes the cluster, because none is used there.
	Modules feature.Modules
}

func (c *clusterUse) equal(o *clusterUse) bool {
	if c == nil || o == nil {
		return c == o
	}
	return c.Name == o.Name && c.Lost == o.Lost && c.Client == o.Client && c.Follows == o.Follows && c.Host == o.Host &&
		c.OfService == o.OfService && c.Modules.Equal(o.Modules) &&
		slices.EqualFunc(c.Backends, o.Backends, backend.equal) &&
		slices.EqualFunc(c.Shapes, o.Shapes, (*clusterShape).equal)
}

// clusterShape is a policy that shapes clusters.
type clusterShape struct {
	Policy policies.Object
	// Members are the policies from which Policy, or the settings in it, were made.
	Members []policies.Object
	// Have answers the policy's needs.
	Have feature.Have
}

func (s *clusterShape) equal(o *clusterShape) bool {
	if s == nil || o == nil {
		return s == o
	}
	return slices.Equal(s.Members, o.Members) && s.Have.Equal(o.Have)
}

// clusterUses finds the cluster of each backend of the rule and of its filters, nil for a backend that cannot be used.
// Unmet is what the fleet lacks, so that none can be used. It is empty for nothing.
func (t *Tables) clusterUses(r *flow.Read, bound *boundRule) (unmet string) {
	form := t.form(bound.listener.Gateway, bound.effects, bound.host())
	rule := &bound.rules.Rules[bound.rule]
	together := func(e *effectRow) bool { return e != nil && !e.Broken && e.Traits.Together }
	// Envoy fails over, and shares out datagrams, in one cluster only.
	whole := rule.Traits.Together || slices.ContainsFunc(bound.effects, together) || failsOver(rule.Backends) ||
		bound.rules.Route.Kind.transport == corev1.ProtocolUDP
	targets := rule.Backends
	if bound.listener.protocol().passed() {
		targets = plain(targets)
	}
	for field, b := range rule.Extra {
		if bound.extra == nil {
			bound.extra = map[string]*clusterUse{}
		}
		bound.extra[field] = form.shared(b.Backends)
	}
	if whole && len(targets) > 1 {
		bound.clusters = form.together(targets, func(b backend) bool { return t.hasEndpoint(r, b) })
	} else {
		bound.clusters = form.apart(targets)
	}
	return form.unmet
}

// form is what the clusters have in common for which the policies are in effect. The host is that of their requests, and
// may be empty.
func (t *Tables) form(gateway *gatewayRow, effects []*effectRow, host string) (form clusterForm) {
	shaping := make([]*clusterShape, len(effects))
	shaped := false
	for i, e := range effects {
		if e != nil && e.Shape != nil && !e.Broken {
			shaping[i], shaped = e.Shape, true
		}
	}
	form = clusterForm{
		use: clusterUse{
			Shapes: shaping, Client: gateway.Client, Once: t.settings.RetriesDisabled, OfService: gateway.ofService(),
		},
		clientRefused: gateway.ClientRefused,
	}
	if shaped || form.use.OfService {
		form.use.Host, form.use.Modules = host, feature.ModulesOf(gateway.EnvoyProxy)
		form.shape()
	}
	return form
}

// clusterForm is what the clusters of a rule have in common.
type clusterForm struct {
	use clusterUse
	// settings are the settings that policies give a cluster, encoded.
	settings []byte
	// clientRefused reports whether backends with TLS cannot be used.
	clientRefused bool
	// unmet is what the fleet lacks, so that no backend can be used. It is empty for nothing.
	unmet string
}

// shape sets what policies make of a cluster.
func (f *clusterForm) shape() {
	u := upstream(&f.use)
	f.settings, f.use.Client, f.use.Follows = policies.Settings(u), u.Certificate, useclientprotocol.Follows(u)
	f.use.OfService = u.Endpoints.OfService
	f.unmet = u.Unmet
	if !u.Endpoints.CheckHosts {
		f.use.Host = "" // So that clusters for different hosts are one.
	}
	f.clientRefused = f.clientRefused && f.use.Client == ""
}

func (f *clusterForm) reaches(b backend) bool {
	return f.unmet == "" && b.usable() && (b.TLS == nil || b.TLS.Client != "" || !f.clientRefused)
}

// apart gives each backend a cluster of its own.
func (f *clusterForm) apart(backends []backend) []*clusterUse {
	uses := make([]*clusterUse, len(backends))
	for i, b := range backends {
		uses[i] = f.alone(b)
	}
	return uses
}

// alone gives a backend a cluster of its own, nil if it cannot be reached.
func (f *clusterForm) alone(b backend) *clusterUse {
	if !f.reaches(b) {
		return nil
	}
	use := f.use
	use.Backends = []backend{b.alone()}
	settings := slices.Concat(f.settings, extensionBytes(b), use.socketBytes(b), b.budgetBytes())
	if use.named() {
		settings = namedBytes(&use)
	}
	use.Name = clusterName(b) + settingsSuffix(settings)
	return &use
}

// settingsSuffix is the part of the name of a cluster that stands for its settings, empty if it has none.
func settingsSuffix(settings []byte) string {
	if len(settings) == 0 {
		return ""
	}
	return "/" + hash(settings, 8)
}

// alone is the backend without its relation to others, which the route has if the cluster has no other.
func (b backend) alone() backend {
	b.Weight, b.Filters, b.At, b.Fallback = 1, nil, 0, false
	return b
}

// plain are the backends without policies for TLS, because what is passed through is already encrypted.
func plain(backends []backend) []backend {
	backends = slices.Clone(backends)
	for i := range backends {
		backends[i].TLS = nil
	}
	return backends
}

// together puts all backends that have endpoints into one cluster, named by its content. Other backends keep a cluster
// and a share of their own: unusable ones; those without endpoints, because Envoy would give their share to the others;
// those that cannot share one (sharable). For datagrams all are part of the cluster, because Envoy has no other way to
// share them out (discarded). If there are fallbacks, all backends that can be reached are part of it, because
// fallbacks serve for those without endpoints.
func (f *clusterForm) together(backends []backend, hasEndpoint func(backend) bool) []*clusterUse {
	uses, fails := f.apart(backends), failsOver(backends)
	sharable := sharable(backends)
	joins := func(b backend) bool {
		return f.reaches(b) && (fails || sharable(b) && (b.datagrams() || hasEndpoint(b)))
	}
	if !slices.ContainsFunc(backends, joins) {
		return uses
	}
	var joined []backend
	for _, b := range backends {
		if joins(b) || b.datagrams() {
			joined = append(joined, b)
		}
	}
	use := f.join(joined)
	for i, b := range backends {
		if joins(b) || b.datagrams() {
			uses[i] = use
		}
	}
	return uses
}

// sharable returns which of the backends can be in one cluster with others. Those with filters cannot, which must not see
// requests of other backends; nor those that are only a name, because Envoy does not resolve names beside endpoints; nor
// those whose server name is the host of each request, if another has its own.
func sharable(backends []backend) func(backend) bool {
	ofRequests, ofItself := namedApart(backends)
	apart := ofRequests != nil && ofItself != nil
	return func(b backend) bool {
		return !b.To.named() && len(b.Filters) == 0 && (!apart || !b.ofRequests())
	}
}

// shared puts all backends of a need into one cluster, nil if none of them can be reached. The others keep their share,
// which fails.
func (f *clusterForm) shared(backends []backend) *clusterUse {
	switch {
	case !slices.ContainsFunc(backends, f.reaches):
		return nil
	case len(backends) == 1:
		return f.alone(backends[0])
	}
	return f.join(backends)
}

// join puts backends into one cluster, named by its content.
func (f *clusterForm) join(backends []backend) *clusterUse {
	use := f.use
	var content strings.Builder
	for _, b := range backends {
		if !f.reaches(b) {
			use.Lost += b.Weight
			continue
		}
		same := func(o backend) bool { return clusterName(o) == clusterName(b) && o.Fallback == b.Fallback }
		if i := slices.IndexFunc(use.Backends, same); i >= 0 {
			use.Backends[i].Weight += b.Weight // Envoy knows one weight of a locality.
			continue
		}
		b.At = 0
		use.Backends = append(use.Backends, b)
	}
	for _, b := range use.Backends {
		fmt.Fprintf(&content, "%s=%d;%s%s%s", clusterName(b), b.Weight, extensionBytes(b), use.socketBytes(b), b.budgetBytes())
		if b.Fallback {
			content.WriteString(" fallback;")
		}
	}
	if use.Lost > 0 {
		fmt.Fprintf(&content, "%s=%d;", unusableCluster, use.Lost)
	}
	if use.named() {
		content.Write(namedBytes(&use))
	}
	use.Name = rulePrefix + hash([]byte(content.String()), 8) + settingsSuffix(f.settings)
	return &use
}

// several reports whether the cluster has more than one backend, one that is lost included.
func (c *clusterUse) several() bool { return len(c.Backends) > 1 || c.Lost > 0 }

// datagrams reports whether the backend is for UDP.
func (b backend) datagrams() bool { return b.Port.Protocol == corev1.ProtocolUDP }

func clusterName(b backend) string {
	if b.To == nil {
		return unusableCluster
	}
	name := b.To.key()
	if b.Port.Number > 0 {
		name += fmt.Sprintf("/%d", b.Port.Number)
	}
	if b.datagrams() {
		name += "/udp" // A Service may have ports of both protocols under one number.
	}
	if b.HTTP2 && !sayHTTP2(b.Port) {
		name += "/http2"
	}
	return name
}

// upstream is a cluster with the settings of policies, or with the defaults if there is no policy.
func upstream(use *clusterUse) *feature.Upstream {
	u := feature.NewUpstream()
	u.Localities, u.Once, u.Certificate, u.Host, u.Modules = use.several(), use.Once, use.Client, use.Host, use.Modules
	u.Endpoints.OfService = use.OfService
	if u.Host == "" && len(use.Backends) > 0 {
		u.Host = use.Backends[0].To.host()
	}
	for i, kind := range policies.Kinds {
		if i < len(use.Shapes) && use.Shapes[i] != nil {
			kind.Cluster(use.Shapes[i].Policy, use.Shapes[i].Have, u)
		} else {
			kind.Cluster(nil, feature.Have{}, u)
		}
	}
	if len(use.Backends) > 0 { // Backends with different ones are never in one cluster.
		for _, e := range use.Backends[0].Extensions {
			policies.ClusterOfExtension(e, u)
		}
	}
	return u
}

// clusterRow is a cluster of a fleet.
type clusterRow struct {
	Use      *clusterUse
	Resource *Resource
}

func (c *clusterRow) equal(o *clusterRow) bool {
	return equalResources(c.Resource, o.Resource) && c.Use.equal(o.Use)
}

func (t *Tables) cluster(_ *flow.Read, key string, members []flow.Row[*bindingRow]) (*clusterRow, bool) {
	_, name := splitKey(key)
	uses := members[0].Value.Clusters
	use := uses[slices.IndexFunc(uses, func(c *clusterUse) bool { return c.Name == name })]
	return &clusterRow{Use: use, Resource: clusterResource(use)}, true
}

func clusterResource(use *clusterUse) *Resource {
	var needs []Name
	if !use.named() && !use.byRequest() {
		needs = append(needs, Name{typeEndpoints, use.Name})
	}
	for _, secret := range use.secrets() {
		needs = append(needs, Name{typeSecret, secret})
	}
	made := envoyCluster(use)
	r := resource(made, use.Name, needs...)
	r.Warms = healthcheck.Warms(made)
	return r
}

func envoyCluster(use *clusterUse) *clusterv3.Cluster {
	u := upstream(use)
	c := u.Cluster
	c.Name = use.Name
	setDiscovery(u, use)
	c.IgnoreHealthOnHostRemoval = true
	if c.PerConnectionBufferLimitBytes == nil {
		c.PerConnectionBufferLimitBytes = wrapperspb.UInt32(32 * 1024)
	}
	use.limitRetries(c)
	use.secure(c)
	if c.TypedExtensionProtocolOptions == nil {
		c.TypedExtensionProtocolOptions = map[string]*anypb.Any{}
	}
	if use.Backends[0].datagrams() {
		u.LimitToDatagrams()
	} else {
		setProtocol(u, use)
		use.guard(u.HTTP)
		c.TypedExtensionProtocolOptions[httpOptions] = packed(u.HTTP)
	}
	for _, s := range use.Shapes {
		if s != nil {
			breakCluster(s.Policy, c)
		}
	}
	return c
}
