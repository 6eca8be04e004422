package translator

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	filelogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/structpb"
	corev1 "k8s.io/api/core/v1"

	"gatehouse/policies"
	"gatehouse/policies/feature"
	"gatehouse/translator/flow"
	"gatehouse/translator/hostname"
)

// declareEnvoyListeners: Envoy's listeners and their secrets.
func (t *Tables) declareEnvoyListeners() {
	t.listenersBySecret = flow.NewIndex(t.listeners, "listeners by Secret", servedSecrets)
	t.secrets = flow.Group(t.listenersBySecret, "secrets", equalResources, t.secretResource)
	t.quicSecrets = flow.Group(flow.NewIndex(t.quic, "listeners with HTTP/3 by Secret", quicSecretKeys),
		"secrets for HTTP/3", equalResources, t.quicSecret)
	t.chains = flow.Derive(t.listeners, "filter chains", chainRow.equal, t.chainOf)
	t.clientsSecrets = flow.Group(flow.NewIndex(t.verifying, "listeners by what they accept of clients", clientsKey),
		"secrets of policies", equalResources, clientsSecret)
	for _, secrets := range []*flow.Table[*Resource]{t.secrets, t.quicSecrets, t.clientsSecrets} {
		t.offered = append(t.offered, flow.Derive(secrets, "names of "+secrets.Name(), flow.Same[bool],
			func(*flow.Read, string, *Resource) (bool, bool) { return true, true }))
	}
	t.listenersOfPorts = flow.Group(t.listenersByPort, "Envoy listeners by port", equalResourceLists, t.listenersOfPort)
	t.portListeners = flow.Expand(t.listenersOfPorts, "Envoy listeners", equalResources, eachListener)
	t.portListenersByFleet = flow.NewIndex(t.portListeners, "Envoy listeners by fleet", fleetOfListener)
}

const (
	typeListener = typePrefix + "envoy.config.listener.v3.Listener"
	typeSecret   = typePrefix + "envoy.extensions.transport_sockets.tls.v3.Secret"
	// fieldFilterChains is the number of a listener's field filter_chains.
	fieldFilterChains = 3
)

// configKey finds a listener's route configuration: its own if it has a filter chain of its own, otherwise that of the
// port, which all plain HTTP listeners of the port share and which is named after the first of them.
func configKey(l *listenerRow) string {
	if l.protocol().sni {
		return l.fleet() + "|" + l.Key
	}
	return l.portKey()
}

func (t *Tables) routeConfigName(r *flow.Read, l *listenerRow) string {
	if l.protocol().sni {
		return l.Key
	}
	port, _ := t.ports.Get(r, l.portKey())
	return port.First
}

// portRow is a port of a fleet with a listener that is served.
type portRow struct {
	Fleet string
	// First is the key of the first listener of the port. Envoy's listener has its name from it.
	First string
	// Exposed is what the port needs of the fleet's Service.
	Exposed []Port
}

func (p portRow) equal(o portRow) bool {
	return p.Fleet == o.Fleet && p.First == o.First && slices.Equal(p.Exposed, o.Exposed)
}

func (t *Tables) port(r *flow.Read, _ string, members []flow.Row[*listenerRow]) (portRow, bool) {
	l := first(members)
	p := Port{Port: l.Spec.Port, Target: l.bindPort(), Protocol: l.protocol().transport}
	for _, m := range members { // Listeners for HTTPS and TLS may share a port, which has one name.
		if name := fmt.Sprintf("%s-%d", strings.ToLower(string(m.Value.Spec.Protocol)), l.Spec.Port); p.Name == "" ||
			name < p.Name {
			p.Name = name
		}
	}
	row := portRow{Fleet: l.fleet(), First: l.Key, Exposed: []Port{p}}
	if t.servesQUIC(r, members) {
		p.Name, p.Protocol = p.Name+"-h3", corev1.ProtocolUDP
		row.Exposed = append(row.Exposed, p)
	}
	return row, true
}

// listenersOfPort returns Envoy's listeners for one port of a fleet. Members are the port's listeners that are served.
func (t *Tables) listenersOfPort(r *flow.Read, key string, members []flow.Row[*listenerRow]) ([]*Resource, bool) {
	first := first(members)
	port, _ := t.portsSettings.Get(r, key)
	built := newListener()
	port.policy().shapeListener(built)
	out := built.Socket
	out.Name, out.Address, out.AccessLog = first.Key, first.bindAddress(), notFoundLog()
	var chains []chainRow
	var needs []Name
	switch p := first.protocol(); {
	case p.transport == corev1.ProtocolUDP:
		needs = t.datagrams(r, out, first)
	case p.sni:
		chains, needs = t.chainsBySNI(r, built, members)
	case p.layer4:
		out.FilterChains, needs = t.layer4Chains(r, first, map[string]bool{})
	default:
		out.DefaultFilterChain, needs = filterChain(first, first, port.policy()), []Name{first.Gateway.routesOf(first.Key)}
	}
	all := []*Resource{withChains(out, chains, distinct(needs))}
	if quic := t.quicListener(r, members, port.policy()); quic != nil {
		all = append(all, quic)
	}
	return all, true
}

// distinct sorts names and omits duplicates.
func distinct(names []Name) []Name {
	slices.SortFunc(names, compareNames)
	return slices.Compact(names)
}

// eachListener gives each of Envoy's listeners for a port a row of its own.
func eachListener(_ *flow.Read, key string, all []*Resource) []flow.Row[*Resource] {
	rows := make([]flow.Row[*Resource], len(all))
	for i, listener := range all {
		rows[i] = flow.Row[*Resource]{Key: key + "|" + listener.Name, Value: listener}
	}
	return rows
}

// chainRow is a filter chain, encoded as the field of its listener.
type chainRow struct {
	Body []byte
	// Sum is a hash of Body, so that the whole listener need not be hashed again when one chain changes.
	Sum [sha256.Size]byte
}

func (c chainRow) equal(o chainRow) bool { return c.Sum == o.Sum && bytes.Equal(c.Body, o.Body) }

func newChain(chain *listenerv3.FilterChain) chainRow {
	body := appendMessage(nil, fieldFilterChains, encode(chain))
	return chainRow{body, sha256.Sum256(body)}
}

// chainOf is the filter chain of a listener for HTTPS. A port may have many of them, of which a change usually concerns one.
func (t *Tables) chainOf(r *flow.Read, _ string, l *listenerRow) (chainRow, bool) {
	if !l.Serves || !l.protocol().sni || l.protocol().layer4 {
		return chainRow{}, false
	}
	return newChain(filterChain(l, l, t.policyOfChain(r, l))), true
}

// withChains is a listener with more filter chains than it has: their bytes, one after the other.
func withChains(out *listenerv3.Listener, chains []chainRow, needs []Name) *Resource {
	head, digest := encode(out), sha256.New()
	digest.Write(head)
	pieces := append(make([][]byte, 0, 1+len(chains)), head)
	for _, c := range chains {
		pieces = append(pieces, c.Body)
		digest.Write(c.Sum[:])
	}
	return &Resource{
		Type: typeListener, Name: out.Name, Version: hex.EncodeToString(digest.Sum(nil)[:16]), Pieces: pieces, Needs: needs,
	}
}

// chainsBySNI are the filter chains of the listeners of a port, which Envoy chooses among by the server name of the TLS
// handshake.
func (t *Tables) chainsBySNI(r *flow.Read, built *feature.Listener, members []flow.Row[*listenerRow]) (chains []chainRow,
	needs []Name,
) {
	out := built.Socket
	out.ListenerFilters = append(out.ListenerFilters, &listenerv3.ListenerFilter{
		Name:       "envoy.filters.listener.tls_inspector",
		ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: packed(built.Inspector)},
	})
	named := map[string]bool{}
	for _, l := range inOrder(members) {
		if l.protocol().layer4 {
			several, clusters := t.layer4Chains(r, l, named)
			for _, chain := range several {
				chains = append(chains, newChain(chain))
			}
			needs = append(needs, clusters...)
		} else {
			chain, _ := t.chains.Get(r, l.Key)
			chains = append(chains, chain)
		}
		if !l.protocol().layer4 {
			needs = append(needs, l.Gateway.routesOf(l.Key))
		}
		for _, secret := range t.secretsOf(r, l) {
			needs = append(needs, Name{typeSecret, secret})
		}
	}
	return chains, needs
}

// inOrder are the listeners of a port in their order.
func inOrder(members []flow.Row[*listenerRow]) []*listenerRow {
	ordered := make([]*listenerRow, len(members))
	for i, m := range members {
		ordered[i] = m.Value
	}
	slices.SortFunc(ordered, (*listenerRow).compare)
	return ordered
}

// statPrefix is the name under which Envoy counts what the listener does.
func (l *listenerRow) statPrefix() string {
	return fmt.Sprintf("%s-%d", l.protocol().statPrefix, l.bindPort())
}

// scheme is that of the requests of a listener.
func (l *listenerRow) scheme() string {
	if l.protocol().tls {
		return "https"
	}
	return "http"
}

// matchSNI makes Envoy choose a filter chain for the hosts. If one of them is every host, the chain gets all
// connections that no other chain matches.
func matchSNI(chain *listenerv3.FilterChain, hosts []string) {
	if !slices.Contains(hosts, hostname.Any) {
		chain.FilterChainMatch = &listenerv3.FilterChainMatch{ServerNames: hosts}
	}
}

// terminate ends TLS with the listener's certificates.
func terminate(l *listenerRow, alpn ...string) *tlsv3.DownstreamTlsContext {
	common := &tlsv3.CommonTlsContext{AlpnProtocols: alpn}
	for _, secret := range l.Secrets {
		common.TlsCertificateSdsSecretConfigs = append(common.TlsCertificateSdsSecretConfigs,
			&tlsv3.SdsSecretConfig{Name: secret, SdsConfig: feature.OverADS()})
	}
	context := &tlsv3.DownstreamTlsContext{CommonTlsContext: common}
	l.Clients.judge(context, feature.OverADS())
	return context
}

// managerFilters are what requests pass before they are forwarded, in this order.
func managerFilters() []*hcmv3.HttpFilter {
	filters := guards()
	for _, f := range policies.Filters() {
		filters = append(filters, f.HTTP())
	}
	return filters
}

// logFields are the fields of the access log, as Envoy Gateway's users know them, with the command that fills each.
var logFields = map[string]string{
	"start_time": "%START_TIME%", "method": "%REQ(:METHOD)%", "x-envoy-origin-path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
	"protocol": "%PROTOCOL%", "response_code": "%RESPONSE_CODE%", "response_flags": "%RESPONSE_FLAGS%",
	"response_code_details":             "%RESPONSE_CODE_DETAILS%",
	"connection_termination_details":    "%CONNECTION_TERMINATION_DETAILS%",
	"upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%", "bytes_received": "%BYTES_RECEIVED%",
	"bytes_sent": "%BYTES_SENT%", "duration": "%DURATION%",
	"x-envoy-upstream-service-time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
	"x-forwarded-for":               "%REQ(X-FORWARDED-FOR)%", "user-agent": "%REQ(USER-AGENT)%",
	"x-request-id": "%REQ(X-REQUEST-ID)%",
	":authority":   "%REQ(:AUTHORITY)%", "upstream_host": "%UPSTREAM_HOST%", "upstream_cluster": "%UPSTREAM_CLUSTER%",
	"upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%", "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
	"downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%", "requested_server_name": "%REQUESTED_SERVER_NAME%",
	"route_name": "%ROUTE_NAME%",
}

func requestLog() []*accesslogv3.AccessLog {
	fields := make(map[string]*structpb.Value, len(logFields))
	for name, command := range logFields {
		fields[name] = structpb.NewStringValue(command)
	}
	return []*accesslogv3.AccessLog{{
		Name: "envoy.access_loggers.file",
		ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: packed(&filelogv3.FileAccessLog{
			Path: "/dev/stdout",
			AccessLogFormat: &filelogv3.FileAccessLog_LogFormat{LogFormat: &corev3.SubstitutionFormatString{
				Format: &corev3.SubstitutionFormatString_JsonFormat{JsonFormat: &structpb.Struct{Fields: fields}},
			}},
		})},
	}}
}

// notFoundLog logs connections for which no filter chain was found; all others are logged by their connection manager.
func notFoundLog() []*accesslogv3.AccessLog {
	log := requestLog()
	log[0].Filter = &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_ResponseFlagFilter{
		ResponseFlagFilter: &accesslogv3.ResponseFlagFilter{Flags: []string{"NR"}},
	}}
	return log
}

// secretResource is what SDS serves under the name of a Secret. For one that is broken or not valid yet that is nothing,
// and running proxies keep what they have.
func (t *Tables) secretResource(r *flow.Read, key string, members []flow.Row[*listenerRow]) (*Resource, bool) {
	fleet, name := splitKey(key)
	if c := members[0].Value.Clients; c != nil && c.Trust.Name == name {
		return c.Trust, true
	}
	row, ok := t.certs.Get(r, name)
	if !ok || row.Resource == nil || t.early(r, name) {
		return nil, false
	}
	q, _ := t.quarantines.Get(r, fleet)
	if _, rejected := q[row.Resource.Version]; rejected {
		return nil, false
	}
	return row.Resource, true
}

// sdsSecrets names what the listener gets by SDS.
func (l *listenerRow) sdsSecrets() []string {
	if l.Clients == nil || l.Clients.Trust == nil {
		return l.Secrets
	}
	return append(slices.Clone(l.Secrets), l.Clients.Trust.Name)
}

func compareNames(a, b Name) int {
	return cmp.Or(strings.Compare(a.Type, b.Type), strings.Compare(a.Name, b.Name))
}

func fleetOfListener(key string, _ *Resource) []string {
	fleet, _ := splitKey(key)
	return []string{fleet}
}
