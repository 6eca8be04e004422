package controller

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/go-logr/logr"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/infra"
	"gatehouse/translator"
	"gatehouse/xds"
)

// made returns a forged token with the claims, which nobody has signed.
func made(payload string) string {
	return "h." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".s"
}

// TestClaims: the claims of a token are enough to reject it.
func TestClaims(t *testing.T) {
	i := NewIdentities(nil, "xds")
	i.Set("n/g", "n/envoy")
	for name, c := range map[string]struct{ token, want string }{
		"of another account": {
			made(`{"sub":"system:serviceaccount:n:other","aud":["xds"],"exp":99999999999}`),
			"has nothing to ask here",
		},
		"of a user": {made(`{"sub":"admin","aud":["xds"],"exp":99999999999}`), "is not a service account"},
		"for the API server": {
			made(`{"sub":"system:serviceaccount:n:envoy","aud":["api"],"exp":99999999999}`),
			"must be for",
		},
		"expired": {
			made(`{"sub":"system:serviceaccount:n:envoy","aud":["xds"],"exp":1000000000}`),
			"has expired",
		},
		"without an end": {made(`{"sub":"system:serviceaccount:n:envoy","aud":["xds"]}`), "has expired"},
		"not JSON":       {made(`hello`), "is not one of a service account"},
		"not base64":     {"a.%.c", "is not one of a service account"},
		"not a JWT":      {"opaque", "have three parts"},
		"with an odd audience": {
			made(`{"sub":"system:serviceaccount:n:envoy","aud":7,"exp":99999999999}`),
			"is not one of a service account",
		},
		"of two parts too many": {"a.b.c.d.e", "have three parts"},
	} {
		t.Run(name, func(t *testing.T) { // There is no API server.
			if _, err := i.Authenticate(t.Context(), c.token); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the token: %v, want words with %q", err, c.want)
			}
		})
	}
}

// asked counts the requests to the API server, by who caused them.
type asked struct {
	mu    sync.Mutex
	count int
}

func (a *asked) RoundTrip(r *http.Request, next http.RoundTripper) (*http.Response, error) {
	if strings.HasSuffix(r.URL.Path, "/tokenreviews") {
		a.mu.Lock()
		a.count++
		a.mu.Unlock()
	}
	return next.RoundTrip(r)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// pod makes a pod with a service account, and a token that is bound to it.
func pod(t *testing.T, c client.Client, name, audience string) (*corev1.Pod, string) {
	t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	if err := c.Create(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: corev1.PodSpec{
		ServiceAccountName: name, Containers: []corev1.Container{{Name: "envoy", Image: "envoy"}},
	}}
	if err := c.Create(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, o := range []client.Object{p, account} {
			if err := client.IgnoreNotFound(c.Delete(context.Background(), o, client.GracePeriodSeconds(0))); err != nil {
				t.Error(err) // The test could not run again.
			}
		}
	})
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		Audiences: []string{audience}, BoundObjectRef: &authenticationv1.BoundObjectReference{
			Kind: "Pod", APIVersion: "v1",
			Name: name, UID: p.UID,
		},
	}}
	if err := c.SubResource("token").Create(t.Context(), account, request); err != nil {
		t.Fatal(err)
	}
	return p, request.Status.Token
}

func from(ctx context.Context, address string) context.Context {
	return peer.NewContext(ctx, &peer.Peer{Addr: &net.TCPAddr{IP: net.ParseIP(address), Port: 1}})
}

// TestFloodOfTokensDelaysNobody: a client with forged tokens causes only a few reviews, and an Envoy elsewhere can
// connect meanwhile.
func TestFloodOfTokensDelaysNobody(t *testing.T) {
	count := &asked{}
	config := rest.CopyConfig(server.Config(t))
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) { return count.RoundTrip(r, next) })
	})
	c, err := client.New(config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	honest, token := pod(t, server.Client(t), "flooded", "xds")
	i := NewIdentities(c, "xds")
	i.Set("default/g", "default/flooded")
	const flood = 2000
	answered := make(chan error, flood)
	var group sync.WaitGroup
	for n := range flood {
		group.Go(func() {
			_, err := i.Authenticate(from(t.Context(), "10.0.0.66"),
				made(fmt.Sprintf(`{"sub":"system:serviceaccount:default:flooded","aud":["xds"],"exp":99999999999,"jti":"%d"}`, n)))
			answered <- err
		})
	}
	id, err := i.Authenticate(from(t.Context(), "10.0.0.1"), token)
	if err != nil || id.Pod != honest.Name+"/"+string(honest.UID) || !slices.Equal(id.Fleets, []string{"default/g"}) {
		t.Errorf("the honest Envoy: %+v, %v", id, err)
	}
	group.Wait()
	close(answered)
	for err := range answered {
		if err == nil {
			t.Fatal("a made-up token was accepted")
		}
	}
	if count.count > attemptsPerMinute+1 {
		t.Errorf("%d made-up tokens had the API server asked %d times, want at most %d", flood, count.count,
			attemptsPerMinute+1)
	}
	before := count.count
	for range 100 { // Another peer that repeats a token causes one review.
		_, err = i.Authenticate(from(t.Context(), "10.0.0.67"),
			made(`{"sub":"system:serviceaccount:default:flooded","aud":["xds"],"exp":99999999999}`))
	}
	if err == nil || count.count != before+1 {
		t.Errorf("one made-up token 100 times: %v, asked %d times, want once", err, count.count-before)
	}
}

// call opens a stream with an invalid token, and returns the error that ends it.
func call(t *testing.T, address, token string) error {
	t.Helper()
	conn, err := grpc.NewClient(address,
		grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{InsecureSkipVerify: true})))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token)
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err == nil {
		_, err = stream.Recv()
	}
	return err
}

// proxy opens a stream on a server with a token, and returns the error that ends it.
func proxy(t *testing.T, address, token string) (ended func() error) {
	t.Helper()
	conn, err := grpc.NewClient(address,
		grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{InsecureSkipVerify: true})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token)
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		t.Fatal(err)
	}
	const clusters = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	if err := stream.Send(&discovery.DeltaDiscoveryRequest{
		Node:    &corev3.Node{Id: "envoy", Cluster: "default/g"},
		TypeUrl: clusters,
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatalf("the first response: %v", err)
	}
	return func() error {
		_, err := stream.Recv()
		return err
	}
}

// deliver serves the fleet default/g to the clients that the identities admit. It reviews tokens all the time.
func deliver(t *testing.T, i *Identities) (delivery *xds.Server, address string) {
	t.Helper()
	i.trusted = 0
	delivery = xds.New(xds.Config{
		Authenticate: i.Authenticate, Confirm: i.Confirm, Review: 200 * time.Millisecond,
		Log: logr.Discard(),
	})
	i.OnChange(delivery.Review)
	delivery.Publish([]translator.Delta{{Fleet: "default/g"}})
	delivery.Synced()
	tlsServer := httptest.NewUnstartedServer(nil)
	tlsServer.StartTLS()
	t.Cleanup(tlsServer.Close)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := delivery.Serve(func() *tls.Certificate { return &tlsServer.TLS.Certificates[0] })
	go func() { _ = g.Serve(listener) }()
	t.Cleanup(g.Stop)
	return delivery, listener.Addr().String()
}

// TestStreamEndsWithItsPodInAFloodOfTokens: the stream of a deleted pod ends even if its address causes more reviews of
// forged tokens than allowed.
func TestStreamEndsWithItsPodInAFloodOfTokens(t *testing.T) {
	c := server.Client(t)
	i := NewIdentities(c, "xds")
	i.Set("default/g", "default/floods")
	_, address := deliver(t, i)
	p, token := pod(t, c, "floods", "xds")
	ended := proxy(t, address, token)
	for n := range attemptsPerMinute + 1 {
		token := made(fmt.Sprintf(`{"sub":"system:serviceaccount:default:floods","aud":["xds"],"exp":99999999999,"jti":"%d"}`,
			n))
		if err := call(t, address, token); err == nil {
			t.Fatal("a made-up token was accepted")
		}
	}
	if err := call(t, address,
		made(`{"sub":"system:serviceaccount:default:floods","aud":["xds"],"exp":99999999999}`)); status.Code(err) != codes.Unavailable {
		t.Fatalf("a made-up token too many: %v, want code Unavailable", err)
	}
	if err := c.Delete(t.Context(), p, client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
	end := make(chan error, 1)
	go func() { end <- ended() }()
	select {
	case err := <-end:
		if status.Code(err) != codes.Unauthenticated {
			t.Errorf("the stream of a deleted pod ends with %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Error("the stream of a deleted pod goes on")
	}
}

// TestStreamEndsWithItsPod: the stream of a deleted pod ends although its token has not expired, and so does the stream
// of an account that no longer belongs to the fleet. Others continue.
func TestStreamEndsWithItsPod(t *testing.T) {
	c := server.Client(t)
	i := NewIdentities(c, "xds")
	i.Set("default/g", "default/leaves", "default/changes", "default/stays")
	delivery, address := deliver(t, i)
	ended := map[string]func() error{}
	pods := map[string]*corev1.Pod{}
	for _, name := range []string{"leaves", "changes", "stays"} {
		p, token := pod(t, c, name, "xds")
		pods[name], ended[name] = p, proxy(t, address, token)
	}
	i.Set("default/g", "default/leaves", "default/stays")
	if err := ended["changes"](); status.Code(err) != codes.Unauthenticated && status.Code(err) != codes.PermissionDenied {
		t.Errorf("the stream of an account that is not the fleet's any more ends with %v", err)
	}
	if err := c.Delete(t.Context(), pods["leaves"], client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
	if err := ended["leaves"](); status.Code(err) != codes.Unauthenticated {
		t.Errorf("the stream of a deleted pod ends with %v", err)
	}
	if proxies := delivery.Debug()[0].Proxies; len(proxies) != 1 || proxies[0].Subject != "default/stays" {
		t.Errorf("streams that go on: %+v", proxies)
	}
}

func TestIdentitiesForgetFleets(t *testing.T) {
	i := NewIdentities(nil, "xds")
	i.Set("n/a", "ns/shared")
	i.Set("n/b", "ns/shared")
	i.Set("n/a", "ns/own")
	i.Set("n/b")
	if len(i.fleets) != 1 || len(i.accounts) != 1 || !slices.Equal(i.fleets["ns/own"], []string{"n/a"}) {
		t.Errorf("fleets by account: %v, accounts by fleet: %v; want n/a of ns/own only", i.fleets, i.accounts)
	}
}

// TestAccountProvesOneFleet: if two Gateways name the same account, its pods get only the resources of the older one.
func TestAccountProvesOneFleet(t *testing.T) {
	c := server.Client(t)
	i := NewIdentities(c, "xds")
	applier := infra.New(server.Indexed(t, infra.Index), infra.Settings{ControllerNamespace: "default"}, logr.Discard())
	applier.Proven = i.Set
	_, token := pod(t, c, "two-fleets", "xds")
	name := "two-fleets"
	for namespace, born := range map[string]int64{"evil": 2000, "shop": 1000} {
		applier.Set(namespace+"/gw", &translator.Requirement{
			Gateway: &gwapiv1.Gateway{ObjectMeta: metav1.ObjectMeta{
				Namespace: namespace, Name: "gw",
				CreationTimestamp: metav1.Unix(born, 0),
			}},
			EnvoyProxy: &v1alpha1.EnvoyProxy{Spec: v1alpha1.EnvoyProxySpec{Provider: &v1alpha1.EnvoyProxyProvider{
				Type:       v1alpha1.EnvoyProxyProviderTypeKubernetes,
				Kubernetes: &v1alpha1.EnvoyProxyKubernetesProvider{EnvoyServiceAccount: &v1alpha1.KubernetesServiceAccountSpec{Name: &name}},
			}}},
		})
	}
	id, err := i.Authenticate(from(t.Context(), "10.0.0.1"), token)
	if err != nil || !slices.Equal(id.Fleets, []string{"shop/gw"}) {
		t.Errorf("the account proves %q (%v), want the older one's fleet", id.Fleets, err)
	}
	applier.Set("shop/gw", nil)
	if id, err = i.Authenticate(from(t.Context(), "10.0.0.1"), token); err != nil ||
		!slices.Equal(id.Fleets, []string{"evil/gw"}) {
		t.Errorf("when the older one is gone: the account proves %q (%v)", id.Fleets, err)
	}
}

// TestFleetWithTwoAccounts: while a fleet moves, its proxies authenticate with either of two accounts, and in the end
// with one.
func TestFleetWithTwoAccounts(t *testing.T) {
	i := NewIdentities(nil, "xds")
	i.Set("n/a", "n/a", "system/a")
	if !slices.Equal(i.fleets["n/a"], []string{"n/a"}) || !slices.Equal(i.fleets["system/a"], []string{"n/a"}) {
		t.Errorf("fleets by account: %v, want n/a by both", i.fleets)
	}
	i.Set("n/a", "n/a")
	if len(i.fleets) != 1 {
		t.Errorf("fleets by account: %v, want n/a by n/a alone", i.fleets)
	}
}

// TestNoAnswerIsNoRefusal: a proxy is asked to try again if the API server cannot review its token, but not if the
// token is invalid.
func TestNoAnswerIsNoRefusal(t *testing.T) {
	away := rest.CopyConfig(server.Config(t))
	away.Host = "https://127.0.0.1:1"
	mapper := server.Client(t).RESTMapper()
	c, err := client.New(away, client.Options{Mapper: mapper})
	if err != nil {
		t.Fatal(err)
	}
	token := made(`{"sub":"system:serviceaccount:n:envoy","aud":["xds"],"exp":99999999999}`)
	i := NewIdentities(c, "xds")
	i.Set("n/g", "n/envoy")
	if _, err := i.Authenticate(t.Context(), token); status.Code(err) != codes.Unavailable {
		t.Errorf("without an API server: %v, want code Unavailable", err)
	}
	i.client = server.Client(t)
	if _, err := i.Authenticate(t.Context(), token); err == nil || status.Code(err) == codes.Unavailable {
		t.Errorf("a bad token: %v, want another code than Unavailable", err)
	}
}
