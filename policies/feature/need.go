package feature

import (
	"bytes"
	"cmp"
	"maps"
	"time"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/verdict"
)

// ContentKey is a key of the data of Secrets or ConfigMaps.
type ContentKey struct {
	// Kind is Secret or ConfigMap.
	Kind string
	Key  string
}

// Compare orders keys by kind and key.
func (k ContentKey) Compare(o ContentKey) int {
	return cmp.Or(cmp.Compare(k.Kind, o.Kind), cmp.Compare(k.Key, o.Key))
}

// Need is something outside of the spec that a feature must have before it can do its part. While it is missing, not
// granted or broken, what the object covers answers 500: protection is never dropped in silence. The weight of the
// problem only says what admission answers.
type Need struct {
	// Field is the path of the reference, relative to the feature's spec, such as basicAuth.users. Have answers under
	// it.
	Field string
	// Content is what is read of an object, Backend is what requests are sent to, Fetch is content that is fetched,
	// Credential is content of a Secret that Envoy gets by SDS, Certificate is a Secret of type kubernetes.io/tls that it
	// gets in the same way, Authorities are CA certificates, and Limits are what a service counts. One of them is set.
	Content     *Content
	Credential  *Content
	Backend     *Backend
	Fetch       *Fetch
	Certificate *gwapiv1.SecretObjectReference
	Authorities *Authorities
	Limits      *GlobalLimits
	// Optional reports whether the feature does its part without the answer, as the spec's failOpen asks.
	Optional bool
}

// Content is one key of the data of an object.
type Content struct {
	ContentKey
	// Group and RefKind are the kind that the reference names. Only Kind of the core group can be used.
	Group, RefKind string
	// Namespace is that of the object. Empty stands for the namespace of the object that refers to it.
	Namespace string
	Name      string
	// Only reports whether the content may also be under the only key of the object, if nothing else is read under this
	// key and it has at most MaxOnly bytes.
	Only bool
	// Check returns an error if the content cannot be used. Its text fits behind "key .htpasswd of Secret shop/users ".
	Check func(content []byte) error
	// Lifetimes says when parts of the content are valid, if only the time decides. It is nil if the time does not matter.
	Lifetimes func(content []byte) []Lifetime
}

// Lifetime is when a part of content is valid.
type Lifetime struct {
	// Of is what the part is, such as "the list of revoked certificates of CN=web". Of several parts that are the same, one
	// that is valid is enough.
	Of string
	// From is the first moment, Until the first one after the last. Until is zero if there is no last one.
	From, Until time.Time
	// Without says what happens while no such part is valid.
	Without string
}

// At reports whether the part is valid.
func (l Lifetime) At(now time.Time) bool {
	return !now.Before(l.From) && (l.Until.IsZero() || now.Before(l.Until))
}

// Object is the object that has the content, for a reference of an object in the namespace.
func (c *Content) Object(from string) verdict.Ref {
	return verdict.Ref{Kind: c.Kind, Namespace: cmp.Or(c.Namespace, from), Name: c.Name}
}

// MaxOnly is how long content under the only key of a ConfigMap may be, in bytes. Caches keep it of every ConfigMap, whether
// something refers to it or not.
const MaxOnly = 64 << 10

// Authorities are the CA certificates of several objects, which are trusted together. The need is met if one of the
// references is.
type Authorities struct {
	// Refs are the references. An empty namespace stands for that of the object that refers to them.
	Refs []verdict.Ref
	// InvalidKind is the reason of a condition that reports a reference to a kind without CA certificates.
	InvalidKind string
}

// SecretContent is a key of the Secret that a reference names.
func SecretContent(ref *gwapiv1.SecretObjectReference, key string, check func(content []byte) error) *Content {
	c := &Content{
		ContentKey: ContentKey{Kind: "Secret", Key: key}, RefKind: "Secret", Name: string(ref.Name),
		Check: check,
	}
	if ref.Group != nil {
		c.Group = string(*ref.Group)
	}
	if ref.Kind != nil {
		c.RefKind = string(*ref.Kind)
	}
	if ref.Namespace != nil {
		c.Namespace = string(*ref.Namespace)
	}
	return c
}

// Have answers the needs of one object by their fields. A need without an answer is not in it.
type Have struct {
	// Content has the bytes of the keys.
	Content map[string][]byte
	// Clusters has the clusters of the backends.
	Clusters map[string]Cluster
	// Secrets has the names of the SDS secrets. Envoy does not use a cluster before it has its secrets.
	Secrets map[string]string
	// Files has the large content that was fetched.
	Files map[string]File
	// Limiters has the service that counts requests.
	Limiters map[string]Limiter
}

// Cluster is a cluster of Envoy.
type Cluster struct {
	Name string
	// Host is the host, and the port if it is known, by which the backend is asked.
	Host string
}

// Equal reports whether both have the same answers.
func (h Have) Equal(o Have) bool {
	return maps.EqualFunc(h.Content, o.Content, bytes.Equal) && maps.Equal(h.Clusters, o.Clusters) &&
		maps.Equal(h.Secrets, o.Secrets) && maps.Equal(h.Files, o.Files) && maps.Equal(h.Limiters, o.Limiters)
}

// For returns the answers to the needs and no others.
func (h Have) For(needs []Need) (own Have) {
	for _, need := range needs {
		answer(&own.Content, h.Content, need.Field)
		answer(&own.Clusters, h.Clusters, need.Field)
		answer(&own.Secrets, h.Secrets, need.Field)
		answer(&own.Files, h.Files, need.Field)
		answer(&own.Limiters, h.Limiters, need.Field)
	}
	return own
}

func answer[V any](to *map[string]V, from map[string]V, field string) {
	value, ok := from[field]
	if !ok {
		return
	}
	if *to == nil {
		*to = map[string]V{}
	}
	(*to)[field] = value
}

// AddContent answers a need with content.
func (h *Have) AddContent(field string, content []byte) {
	if h.Content == nil {
		h.Content = map[string][]byte{}
	}
	h.Content[field] = content
}

// AddSecret answers a need with the name of an SDS secret.
func (h *Have) AddSecret(field, name string) {
	if h.Secrets == nil {
		h.Secrets = map[string]string{}
	}
	h.Secrets[field] = name
}
