package explain

import (
	"fmt"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"

	"gatehouse/policies"
)

// unusable is the name of the cluster of backends that cannot be used.
const unusable = "invalid-backend-cluster"

// misdirected is the name of routes for hosts of other listeners.
const misdirected = "misdirected"

// codes are the status codes of redirects.
var codes = map[routev3.RedirectAction_RedirectResponseCode]int{
	routev3.RedirectAction_MOVED_PERMANENTLY: 301, routev3.RedirectAction_FOUND: 302, routev3.RedirectAction_SEE_OTHER: 303,
	routev3.RedirectAction_TEMPORARY_REDIRECT: 307, routev3.RedirectAction_PERMANENT_REDIRECT: 308,
}

// action says what a route does.
func action(r *routev3.Route) string {
	switch a := r.Action.(type) {
	case *routev3.Route_DirectResponse:
		if a.DirectResponse.BodyFormat != nil { // Only an HTTPRouteFilter says what to answer.
			return fmt.Sprintf("answers %d, as directResponse of an HTTPRouteFilter says", a.DirectResponse.Status)
		}
		return fmt.Sprintf("answers %d%s", a.DirectResponse.Status, reason(r.Name, a.DirectResponse.Status))
	case *routev3.Route_Redirect:
		return redirection(a.Redirect)
	case *routev3.Route_Route:
		return "forwards" + rewriting(a.Route)
	}
	return fmt.Sprintf("does %T", r.Action)
}

// reason is why a route answers by itself.
func reason(name string, status uint32) string {
	switch {
	case name == misdirected:
		return ", because the host belongs to another listener of the port than the server name of the handshake"
	case status >= 500:
		return ", because the rule cannot be carried out as written"
	case strings.Contains(name, "/filters/"):
		return ", because no route of the host matches"
	}
	return ""
}

// redirection says where a redirect leads to.
func redirection(a *routev3.RedirectAction) string {
	var changes []string
	add := func(what, value string) {
		if value != "" {
			changes = append(changes, what+" "+value)
		}
	}
	add("scheme", a.GetSchemeRedirect())
	add("host", a.HostRedirect)
	if a.PortRedirect != 0 {
		add("port", fmt.Sprint(a.PortRedirect))
	}
	add("path", a.GetPathRedirect())
	add("prefix", a.GetPrefixRewrite())
	if rewrite := a.GetRegexRewrite(); rewrite != nil {
		add("path", fmt.Sprintf("by %s to %s", rewrite.Pattern.GetRegex(), rewrite.Substitution))
	}
	text := fmt.Sprintf("redirects with %d", codes[a.ResponseCode])
	if len(changes) > 0 {
		text += " to " + strings.Join(changes, ", ")
	}
	return text
}

// rewriting says what a backend gets in place of what the client has sent.
func rewriting(a *routev3.RouteAction) string {
	var changes []string
	add := func(what, value string) {
		if value != "" {
			changes = append(changes, what+" "+value)
		}
	}
	add("with host", a.GetHostRewriteLiteral())
	add("with prefix", a.PrefixRewrite)
	if rewrite := a.RegexRewrite; rewrite != nil {
		add("with path", fmt.Sprintf("by %s to %s", rewrite.Pattern.GetRegex(), rewrite.Substitution))
	}
	for _, mirror := range a.RequestMirrorPolicies {
		add("mirrored to", mirror.Cluster)
	}
	if len(changes) == 0 {
		return ""
	}
	return ", " + strings.Join(changes, ", ")
}

// backends lists the clusters of a route.
func (x *explanation) backends(route *routev3.Route, r *Route) []Backend {
	a := route.GetRoute()
	if a == nil {
		return nil
	}
	if weighted := a.GetWeightedClusters(); weighted != nil {
		shares := make([]share, len(weighted.Clusters))
		for i, c := range weighted.Clusters {
			shares[i] = share{c.Name, c.Weight.GetValue()}
		}
		return x.shared(shares, r)
	}
	return x.shared([]share{{a.GetCluster(), 1}}, r)
}

// share is a cluster with its weight.
type share struct {
	cluster string
	weight  uint32
}

func (x *explanation) shared(shares []share, r *Route) (all []Backend) {
	total := uint64(0)
	for _, s := range shares {
		total += uint64(s.weight)
	}
	for _, s := range shares {
		b := Backend{
			Cluster: s.cluster, Share: float64(s.weight) * 100 / float64(max(total, 1)), Endpoints: x.fleet.endpoints[s.cluster],
		}
		switch {
		case s.cluster == unusable:
			b.Why = "a backendRef cannot be used, so its share fails"
		case b.Endpoints == 0 && x.Endpoints:
			b.Why = "there is no endpoint, so the answer is 503"
		case b.Endpoints == 0:
			b.Why = "its endpoints are not among the files"
		}
		if strings.HasPrefix(s.cluster, "rule/") && r != nil && r.from != nil {
			for _, to := range r.from.Rules[r.match.Rule].Backends {
				b.Of = append(b.Of, fmt.Sprintf("%s:%d with weight %d", to.Ref, to.Port, to.Weight))
			}
		}
		all = append(all, b)
	}
	return all
}

// forwards describes a connection that is forwarded without reading requests.
func (x *explanation) forwards() {
	proxy := x.met.Forwards
	if proxy == nil {
		return
	}
	r := Route{Name: x.met.Chain, Action: "forwards the connection without reading requests"}
	for i := range x.Served {
		s := &x.Served[i]
		if s.Fleet == x.fleet.Name && s.Chain != "" && (s.Chain == r.Name || strings.HasPrefix(r.Name, s.Chain+"/")) {
			r.from, r.Object, r.Place = s, s.Route.String(), x.Place(s.Route, "")
			if len(s.Rules) > 0 {
				r.Field, r.Policies = "spec.rules[0]", x.policies(s.Rules[0].Policies)
			}
		}
	}
	switch clusters := clustersOf(proxy); {
	case len(clusters) > 1 || clusters[0].cluster != unusable:
		r.Backends = x.shared(clusters, nil)
	case strings.HasSuffix(r.Name, "/denied"):
		r.Action = "closes the connection, because a policy denies the address of the client"
	default:
		r.Action = "closes the connection, because no backend can be used or no route takes it"
	}
	x.Routes = append(x.Routes, r)
}

func clustersOf(proxy *tcpv3.TcpProxy) []share {
	weighted := proxy.GetWeightedClusters()
	if weighted == nil {
		return []share{{proxy.GetCluster(), 1}}
	}
	shares := make([]share, len(weighted.Clusters))
	for i, c := range weighted.Clusters {
		shares[i] = share{c.Name, c.Weight}
	}
	return shares
}

// always are the filters that every request passes.
func always() []string {
	var names []string
	for _, f := range policies.Filters() {
		if f.Always {
			names = append(names, f.Name)
		}
	}
	return names
}
