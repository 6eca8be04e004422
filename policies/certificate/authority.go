package certificate

import (
	"bytes"
	"fmt"
)

// AuthoritiesKey is the preferred key for CA certificates in ConfigMaps and Secrets (Gateway API, caCertificateRefs).
const AuthoritiesKey = "ca.crt"

// AuthoritiesIn is the key with the CA certificates of an object: ca.crt, otherwise tls.crt, otherwise its only key, as
// in Envoy Gateway.
func AuthoritiesIn[V any](data map[string]V) string {
	for _, key := range []string{AuthoritiesKey, ChainKey} {
		if _, ok := data[key]; ok {
			return key
		}
	}
	for key := range data {
		if len(data) == 1 {
			return key
		}
	}
	return AuthoritiesKey
}

// IsAuthorities reports whether the content of a key is the CA certificates of the object that has the data.
func IsAuthorities(data map[string][]byte, key string) bool {
	return key == AuthoritiesIn(data) && bytes.Contains(data[key], begin)
}

// CheckAuthorities returns an error if the CA certificates under a key cannot be used.
func CheckAuthorities(key string, bundle []byte) error {
	if len(bundle) > maxBundle {
		return tooLong(key, len(bundle), maxBundle, "keep the authorities that are to be trusted only")
	}
	found, err := certificates(key, bundle, maxInBundle)
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("has no certificate in %s: put the PEM certificates there that are to be trusted", key)
	}
	return err
}
