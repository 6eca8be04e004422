package node

import (
	"context"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
)

// sources finds what pods refer to: objects in the informers' caches, and tokens by asking the API server.
type sources struct {
	client     kubernetes.Interface
	configMaps corelisters.ConfigMapLister
	secrets    corelisters.SecretLister
	services   corelisters.ServiceLister

	mu     sync.Mutex
	tokens map[tokenKey]token
}

type tokenKey struct {
	pod      types.UID
	audience string
	seconds  int64
}

type token struct {
	text  string
	renew time.Time
}

func newSources(client kubernetes.Interface, f informers.SharedInformerFactory) *sources {
	core := f.Core().V1()
	return &sources{
		client:     client,
		configMaps: core.ConfigMaps().Lister(),
		secrets:    core.Secrets().Lister(),
		services:   core.Services().Lister(),
		tokens:     map[tokenKey]token{},
	}
}

func (s *sources) ConfigMap(namespace, name string) *corev1.ConfigMap {
	found, err := s.configMaps.ConfigMaps(namespace).Get(name)
	if err != nil {
		return nil // A lister's only error is that the object is not there.
	}
	return found
}

func (s *sources) Secret(namespace, name string) *corev1.Secret {
	found, err := s.secrets.Secrets(namespace).Get(name)
	if err != nil {
		return nil // A lister's only error is that the object is not there.
	}
	return found
}

func (s *sources) Services(namespace string) []*corev1.Service {
	found, err := s.services.Services(namespace).List(labels.Everything())
	if err != nil {
		return nil // Listing everything from a cache does not fail.
	}
	return found
}

// Token returns a token that is bound to the pod, a new one when four fifths of the life of the last are over.
func (s *sources) Token(pod *corev1.Pod, t *corev1.ServiceAccountTokenProjection) (string, error) {
	seconds := int64(3600)
	if t.ExpirationSeconds != nil {
		seconds = *t.ExpirationSeconds
	}
	key := tokenKey{pod.UID, t.Audience, seconds}
	s.mu.Lock()
	held, ok := s.tokens[key]
	s.mu.Unlock()
	if ok && time.Now().Before(held.renew) {
		return held.text, nil
	}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: &seconds,
		BoundObjectRef: &authenticationv1.BoundObjectReference{
			APIVersion: "v1", Kind: "Pod", Name: pod.Name,
			UID: pod.UID,
		},
	}}
	if t.Audience != "" {
		request.Spec.Audiences = []string{t.Audience}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	asked := time.Now()
	answer, err := s.client.CoreV1().ServiceAccounts(pod.Namespace).CreateToken(ctx, pod.Spec.ServiceAccountName, request,
		metav1.CreateOptions{})
	if err != nil {
		if ok && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return held.text, nil // It is good for another fifth of its life, and will be asked for again.
		}
		return "", err
	}
	life := answer.Status.ExpirationTimestamp.Sub(asked)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[key] = token{text: answer.Status.Token, renew: asked.Add(life * 4 / 5)}
	return answer.Status.Token, nil
}

// forget drops the tokens of a pod that is gone.
func (s *sources) forget(pod types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.tokens {
		if key.pod == pod {
			delete(s.tokens, key)
		}
	}
}
