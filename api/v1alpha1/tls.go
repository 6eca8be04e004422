package v1alpha1

// TLSSettings says which versions and algorithms of TLS are used. What is not set is Envoy's choice.
//
// +kubebuilder:validation:XValidation:rule="!has(self.minVersion) || self.minVersion != '1.3' || !has(self.ciphers)",fieldPath=".ciphers",message="TLS 1.3 has ciphers of its own, which cannot be chosen: remove ciphers, or allow an older version with minVersion"
// +kubebuilder:validation:XValidation:rule="!has(self.maxVersion) || self.maxVersion == 'Auto' || (!has(self.minVersion) ? self.maxVersion in ['1.2', '1.3'] : self.minVersion == 'Auto' || self.minVersion <= self.maxVersion)",fieldPath=".maxVersion",message="maxVersion is older than minVersion, which is 1.2 if it is not set: write a newer maxVersion, or an older minVersion"
type TLSSettings struct {
	// MinVersion is the oldest version of TLS. Default: 1.2, which Auto means too.
	//
	// +optional
	MinVersion *TLSVersion `json:"minVersion,omitempty"`

	// MaxVersion is the newest version of TLS. Default: 1.3, which Auto means too.
	//
	// +optional
	MaxVersion *TLSVersion `json:"maxVersion,omitempty"`

	// Ciphers are the cipher suites of TLS 1.2 and older, the preferred one first, by their names in OpenSSL or in the
	// registry of IANA. Those between brackets, such as [A|B], are equally preferred. Those of TLS 1.3 cannot be chosen.
	//
	// +optional
	Ciphers []string `json:"ciphers,omitempty"`

	// ECDHCurves are the groups for the exchange of keys, the preferred one first, such as X25519 and P-256.
	//
	// +optional
	ECDHCurves []string `json:"ecdhCurves,omitempty"`

	// SignatureAlgorithms are the algorithms by which the other side may sign, the preferred one first, such as
	// ecdsa_secp256r1_sha256.
	//
	// +optional
	SignatureAlgorithms []string `json:"signatureAlgorithms,omitempty"`

	// ALPNProtocols are the protocols on which both sides can agree in the TLS handshake, the preferred one first. An empty
	// list offers no choice. HTTP/3 does not depend on it. Default: h2 and http/1.1 for HTTP, none for other connections.
	//
	// +optional
	// +nullable
	ALPNProtocols []ALPNProtocol `json:"alpnProtocols,omitzero"`

	// Fingerprints are computed of each TLS handshake, and available to access logs and headers as
	// %TLS_JA3_FINGERPRINT% and %TLS_JA4_FINGERPRINT%. The listeners of a port share them. Default: none.
	//
	// +optional
	Fingerprints []TLSFingerprint `json:"fingerprints,omitempty"`
}

// TLSVersion is a version of TLS. Auto is the default of the field.
//
// +kubebuilder:validation:Enum=Auto;"1.0";"1.1";"1.2";"1.3"
type TLSVersion string

// The versions of TLS.
const (
	TLSAuto TLSVersion = "Auto"
	TLSv10  TLSVersion = "1.0"
	TLSv11  TLSVersion = "1.1"
	TLSv12  TLSVersion = "1.2"
	TLSv13  TLSVersion = "1.3"
)

// ALPNProtocol is the name of a protocol in the TLS handshake (RFC 7301), such as h2.
type ALPNProtocol string

// TLSFingerprint is a way to recognize the software of clients by their TLS handshake.
//
// +kubebuilder:validation:Enum=JA3;JA4
type TLSFingerprint string

// The fingerprints.
const (
	TLSFingerprintJA3 TLSFingerprint = "JA3"
	TLSFingerprintJA4 TLSFingerprint = "JA4"
)
