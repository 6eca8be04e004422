package webhook

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/issuer"
)

// certificateRefs names a Secret in HTTPS listeners that name none, if the annotations of their object ask cert-manager
// for certificates. cert-manager issues none for a listener without a Secret. See
// docs/decisions/090-names-of-secrets.md.
var certificateRefs = Mutation{
	Name: "certificateRefs of listeners with an issuer",
	Kinds: []schema.GroupKind{
		{Group: gwapiv1.GroupName, Kind: "Gateway"}, {Group: gwapiv1.GroupName, Kind: "ListenerSet"},
	},
	Mutate: completeCertificateRefs,
}

func completeCertificateRefs(object map[string]any) (changed bool, notes []string) {
	metadata, _ := object["metadata"].(map[string]any)
	namespace, _ := metadata["namespace"].(string)
	name, _ := metadata["name"].(string) // The API server generates names before it asks.
	asked := issuer.AskedBy(namespace, annotationsOf(metadata))
	if asked == nil || asked.Wrong != "" || name == "" {
		return false, nil
	}
	spec, _ := object["spec"].(map[string]any)
	listeners, _ := spec["listeners"].([]any)
	kind, _ := object["kind"].(string)
	for i, l := range listeners {
		listener, _ := l.(map[string]any)
		if !wantsSecret(listener, asked) {
			continue
		}
		tls, _ := listener["tls"].(map[string]any)
		if tls == nil {
			tls = map[string]any{}
			listener["tls"] = tls
		}
		secret := secretName(kind, name, listener["name"].(string))
		tls["certificateRefs"] = []any{map[string]any{"name": secret}}
		changed = true
		notes = append(notes, fmt.Sprintf("spec.listeners[%d].tls.certificateRefs: not given, so they are Secret %q, which cert-manager issues by %s",
			i, secret, issuer.Name(asked.Issuer)))
	}
	return changed, notes
}

// wantsSecret reports whether a listener names no Secret and cert-manager would issue a certificate if it did.
func wantsSecret(listener map[string]any, asked *issuer.Asked) bool {
	name, _ := listener["name"].(string)
	host, _ := listener["hostname"].(string)
	value, given := listener["tls"]
	tls, isTLS := value.(map[string]any)
	if name == "" || listener["protocol"] != string(gwapiv1.HTTPSProtocolType) || given && !isTLS {
		return false
	}
	if _, named := tls["certificateRefs"]; named {
		return false
	}
	if mode, given := tls["mode"]; given && mode != string(gwapiv1.TLSModeTerminate) {
		return false
	}
	hostname := gwapiv1.Hostname(host)
	return asked.Ignores(&gwapiv1.Listener{Name: gwapiv1.SectionName(name), Hostname: &hostname}) == ""
}

func annotationsOf(metadata map[string]any) map[string]string {
	given, _ := metadata["annotations"].(map[string]any)
	annotations := make(map[string]string, len(given))
	for key, value := range given {
		if text, ok := value.(string); ok {
			annotations[key] = text
		}
	}
	return annotations
}

// The name of a Secret is at most maxSecretName long, so that it fits into labels too. sumLength of it, in hex, is what
// distinguishes it.
const (
	maxSecretName = 63
	sumLength     = 8
)

// secretName is the name of the Secret of a listener: the names of its owner and of itself, cut if they are long, and a
// hash of both and of the kind. So listener b-c of Gateway a and listener c of Gateway a-b have different ones.
func secretName(kind, owner, listener string) string {
	sum := sha256.Sum256([]byte(kind + "/" + owner + "/" + listener))
	words := owner + "-" + listener
	words = strings.TrimRight(words[:min(len(words), maxSecretName-sumLength-1)], "-.")
	return words + "-" + hex.EncodeToString(sum[:])[:sumLength]
}
