package v1alpha1

import gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

// ClientTLSSettings says how TLS with clients is terminated. It has no effect on listeners that do not terminate TLS.
type ClientTLSSettings struct {
	TLSSettings `json:",inline"`

	// ClientValidation asks clients for certificates, and says which are accepted.
	//
	// +optional
	ClientValidation *ClientValidationContext `json:"clientValidation,omitempty"`

	// Session says whether clients can resume a session of TLS. Default: they cannot.
	//
	// +optional
	Session *Session `json:"session,omitempty"`
}

// ClientValidationContext says which certificates of clients are accepted. A client whose certificate is not accepted
// gets no connection. All that is set must be met.
//
// +kubebuilder:validation:XValidation:rule="!has(self.allowExpiredCertificate) || !self.allowExpiredCertificate || !has(self.mode) || self.mode in ['VerifyIfGiven', 'RequireAndVerify']",fieldPath=".allowExpiredCertificate",message="certificates are not verified in this mode, so their age does not matter: remove allowExpiredCertificate, or write mode VerifyIfGiven or RequireAndVerify"
type ClientValidationContext struct {
	// Optional lets clients in that have no certificate. Deprecated: write mode VerifyIfGiven. It has no effect if mode
	// is set.
	//
	// +optional
	Optional bool `json:"optional,omitempty"`

	// Mode says whether clients need a certificate, and whether it must be one of the authorities in caCertificateRefs.
	// Request and RequireAny accept any certificate; backends can judge it by the header x-forwarded-client-cert. For
	// RequireAny it needs a subject, or a name that is a URI or a DNS name.
	// Request and VerifyIfGiven let clients without a certificate in. Default: RequireAndVerify.
	//
	// +optional
	Mode *ClientValidationMode `json:"mode,omitempty"`

	// CACertificateRefs refer to the certificates of the authorities that are trusted: to key ca.crt of ConfigMaps and
	// Secrets, or to ClusterTrustBundles. An object of another namespace needs a ReferenceGrant.
	//
	// +optional
	// +kubebuilder:validation:MaxItems=8
	CACertificateRefs []gwapiv1.SecretObjectReference `json:"caCertificateRefs,omitempty"`

	// SPKIHashes accept certificates with one of these keys. Each is the SHA-256 of the SubjectPublicKeyInfo in base64. A
	// certificate that certificateHashes accept is accepted too.
	//
	// +optional
	SPKIHashes []string `json:"spkiHashes,omitempty"`

	// CertificateHashes accept these certificates. Each is the SHA-256 of the certificate in hexadecimal digits, with or
	// without colons.
	//
	// +optional
	CertificateHashes []string `json:"certificateHashes,omitempty"`

	// SubjectAltNames accept certificates that have one of these names. They need caCertificateRefs.
	//
	// +optional
	SubjectAltNames *SubjectAltNames `json:"subjectAltNames,omitempty"`

	// CRL refuses certificates that their authority has revoked. It needs caCertificateRefs.
	//
	// +optional
	CRL *CRL `json:"crl,omitempty"`

	// AllowExpiredCertificate accepts certificates that have expired. It needs caCertificateRefs.
	//
	// +optional
	AllowExpiredCertificate bool `json:"allowExpiredCertificate,omitempty"`
}

// ClientValidationMode says whether clients need a certificate, and whether it is verified.
//
// +kubebuilder:validation:Enum=Request;RequireAny;VerifyIfGiven;RequireAndVerify
type ClientValidationMode string

// The modes.
const (
	ClientValidationRequest          ClientValidationMode = "Request"
	ClientValidationRequireAny       ClientValidationMode = "RequireAny"
	ClientValidationVerifyIfGiven    ClientValidationMode = "VerifyIfGiven"
	ClientValidationRequireAndVerify ClientValidationMode = "RequireAndVerify"
)

// SubjectAltNames are names in certificates. A certificate needs one of them.
type SubjectAltNames struct {
	// DNSNames match DNS names. Exact also matches a wildcard in the certificate.
	//
	// +optional
	DNSNames []StringMatch `json:"dnsNames,omitempty"`

	// EmailAddresses match addresses of mail.
	//
	// +optional
	EmailAddresses []StringMatch `json:"emailAddresses,omitempty"`

	// IPAddresses match IP addresses, as text.
	//
	// +optional
	IPAddresses []StringMatch `json:"ipAddresses,omitempty"`

	// URIs match URIs, such as a SPIFFE ID.
	//
	// +optional
	URIs []StringMatch `json:"uris,omitempty"`

	// OtherNames match names of other kinds.
	//
	// +optional
	OtherNames []OtherSANMatch `json:"otherNames,omitempty"`
}

// OtherSANMatch matches a name of another kind.
type OtherSANMatch struct {
	// OID is the kind of the name, such as 1.3.6.1.4.1.311.20.2.3.
	//
	// +required
	OID string `json:"oid"`

	StringMatch `json:",inline"`
}

// CRL is lists of revoked certificates.
type CRL struct {
	// Refs refer to the lists, in PEM, of key ca.crl of Secrets and ConfigMaps. There must be a list of each authority
	// that a client's chain of certificates contains: without one, or with one that has expired, the client is refused.
	// An object of another namespace needs a ReferenceGrant.
	//
	// +required
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	Refs []gwapiv1.SecretObjectReference `json:"refs"`

	// OnlyVerifyLeafCertificate looks only for the client's own certificate in the lists, and not for those of
	// authorities between. Then only the list of the authority that issued it is needed.
	//
	// +optional
	OnlyVerifyLeafCertificate *bool `json:"onlyVerifyLeafCertificate,omitempty"`
}

// Session is about sessions of TLS.
type Session struct {
	// Resumption lets clients resume a session, which saves most of a handshake. Each kind that is set is offered.
	//
	// +optional
	Resumption *SessionResumption `json:"resumption,omitempty"`
}

// SessionResumption is how sessions are resumed. Each Envoy has keys and sessions of its own, so a client that comes to
// another Envoy gets a full handshake.
type SessionResumption struct {
	// Stateless gives clients tickets, encrypted with a key that Envoy makes at random.
	//
	// +optional
	Stateless *StatelessTLSSessionResumption `json:"stateless,omitempty"`

	// Stateful keeps the sessions of TLS 1.2 and older in Envoy's memory.
	//
	// +optional
	Stateful *StatefulTLSSessionResumption `json:"stateful,omitempty"`
}

// StatelessTLSSessionResumption has no settings.
type StatelessTLSSessionResumption struct{}

// StatefulTLSSessionResumption has no settings.
type StatefulTLSSessionResumption struct{}
