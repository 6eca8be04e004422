package policies

import (
	"slices"

	"gatehouse/policies/certificate"
	"gatehouse/policies/feature"
)

// contentKeys lists, sorted, the keys of Secrets and ConfigMaps under which something is read: certificates and CA
// certificates, whoever refers to them, and what features need. Any object may also hold CA certificates under its only
// key (certificate.AuthoritiesIn).
//
// Caches keep these keys, and the webhook judges objects that have one. The chart has the list in files/content.yaml.
var contentKeys = listContentKeys()

func listContentKeys() []feature.ContentKey {
	var keys []feature.ContentKey
	for _, kind := range []string{"ConfigMap", "Secret"} {
		for _, key := range []string{certificate.AuthoritiesKey, certificate.ChainKey} {
			keys = append(keys, feature.ContentKey{Kind: kind, Key: key})
		}
	}
	for _, key := range []string{certificate.PrivateKey, certificate.StapleKey} {
		keys = append(keys, feature.ContentKey{Kind: "Secret", Key: key})
	}
	for _, f := range features {
		keys = append(keys, f.keys...)
	}
	slices.SortFunc(keys, feature.ContentKey.Compare)
	return slices.Compact(keys)
}

// OnlyKey returns the key of an object with just one key that may have content under any name (feature.Content, Only). It
// is empty if there is none.
func OnlyKey[V ~string | ~[]byte](kind string, data map[string]V) string {
	if kind != "ConfigMap" || len(data) != 1 {
		return ""
	}
	for key, content := range data {
		if len(content) <= feature.MaxOnly && !Reads(kind, key) {
			return key
		}
	}
	return ""
}

// Reads reports whether something is read under the key of a Secret or a ConfigMap.
func Reads(kind, key string) bool {
	return slices.Contains(contentKeys, feature.ContentKey{Kind: kind, Key: key})
}
