// Package clientpath is the path part of a ClientTrafficPolicy: how paths of requests are brought into one form.
package clientpath

import (
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"k8s.io/utils/ptr"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// Feature is the path part.
var Feature = feature.Feature[v1alpha1.ClientTrafficPolicySpec]{
	Name:     "path",
	Check:    check,
	Listener: listener,
	Effective: func(spec *v1alpha1.ClientTrafficPolicySpec, _ feature.Have, e *feature.Effective) {
		if spec.Path == nil {
			return
		}
		c := e.OfClients()
		c.EscapedSlashes = string(ptr.Deref(spec.Path.EscapedSlashesAction, ""))
		if disabled := spec.Path.DisableMergeSlashes; disabled != nil {
			c.MergeSlashes = new(!*disabled)
		}
	},
}

// actions are Envoy's for escaped slashes.
var actions = map[v1alpha1.PathEscapedSlashAction]hcmv3.HttpConnectionManager_PathWithEscapedSlashesAction{
	v1alpha1.KeepUnchangedAction:       hcmv3.HttpConnectionManager_KEEP_UNCHANGED,
	v1alpha1.RejectRequestAction:       hcmv3.HttpConnectionManager_REJECT_REQUEST,
	v1alpha1.UnescapeAndForwardAction:  hcmv3.HttpConnectionManager_UNESCAPE_AND_FORWARD,
	v1alpha1.UnescapeAndRedirectAction: hcmv3.HttpConnectionManager_UNESCAPE_AND_REDIRECT,
}

func check(spec *v1alpha1.ClientTrafficPolicySpec) []verdict.Problem {
	if spec.Path == nil || spec.Path.EscapedSlashesAction == nil {
		return nil
	}
	return feature.CheckChoice("path.escapedSlashesAction", *spec.Path.EscapedSlashesAction, actions)
}

func listener(spec *v1alpha1.ClientTrafficPolicySpec, _ feature.Have, l *feature.Listener) {
	var path v1alpha1.PathSettings
	if spec.Path != nil {
		path = *spec.Path
	}
	l.Manager.NormalizePath = wrapperspb.Bool(true)
	l.Manager.MergeSlashes = path.DisableMergeSlashes == nil || !*path.DisableMergeSlashes
	l.Manager.PathWithEscapedSlashesAction = hcmv3.HttpConnectionManager_UNESCAPE_AND_REDIRECT
	if path.EscapedSlashesAction == nil {
		return
	}
	if action, ok := actions[*path.EscapedSlashesAction]; ok {
		l.Manager.PathWithEscapedSlashesAction = action
	}
}
