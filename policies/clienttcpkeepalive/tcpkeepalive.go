// Package clienttcpkeepalive is the tcpKeepalive part of a ClientTrafficPolicy: how connections of clients are found to
// be dead.
package clienttcpkeepalive

import (
	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// Feature is the tcpKeepalive part.
var Feature = feature.Feature[v1alpha1.ClientTrafficPolicySpec]{
	Name: "tcpKeepalive",
	Check: func(spec *v1alpha1.ClientTrafficPolicySpec) []verdict.Problem {
		return feature.CheckKeepalive("tcpKeepalive", spec.TCPKeepalive)
	},
	Listener: func(spec *v1alpha1.ClientTrafficPolicySpec, _ feature.Have, l *feature.Listener) {
		l.Socket.TcpKeepalive = feature.Keepalive(spec.TCPKeepalive)
	},
}
