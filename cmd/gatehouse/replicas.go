package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"gatehouse/controller"
	"gatehouse/translator"
)

// tokenFile has the token of this pod, which authenticates it to the leader.
const tokenFile = "/var/run/secrets/kubernetes.io/serviceaccount/token"

func (p *plane) addReplicas(restConfig *rest.Config) error {
	// Another replica authenticates with its own API token, so the audience is the API server's own.
	reviews, err := reviewer(restConfig, p.manager)
	if err != nil {
		return err
	}
	admission := controller.NewIdentities(reviews, "")
	own := p.namespace + "/gatehouse"
	direct, err := client.New(restConfig, client.Options{Scheme: p.manager.GetScheme()})
	if err != nil {
		return fmt.Errorf("make a client for the lease: %w", err)
	}
	p.replicas = controller.NewReplicas(controller.ReplicaOptions{
		Self: p.identity(),
		Put:  func(events ...translator.Event) { p.controller.Put(events...) },
		Leader: func(ctx context.Context) (string, error) {
			return p.leaderURL(ctx, direct)
		},
		Client: &http.Client{Transport: &http.Transport{DialTLSContext: p.dialReplica}},
		Token: func() (string, error) {
			token, err := os.ReadFile(tokenFile)
			return strings.TrimSpace(string(token)), err
		},
		Admit: func(ctx context.Context, token string) error {
			return admission.Admit(ctx, token, own)
		},
		Log: p.log.WithName("replicas"),
	})
	return nil
}

// everywhere is a Runnable that runs on every replica, not only on the leader.
type everywhere func(context.Context) error

func (e everywhere) Start(ctx context.Context) error { return e(ctx) }

// NeedLeaderElection returns false.
func (everywhere) NeedLeaderElection() bool { return false }

// reviewer returns a client for reviews of tokens with a separate rate limit, so that reviews delay nothing else.
func reviewer(config *rest.Config, m manager.Manager) (client.Client, error) {
	own := rest.CopyConfig(config)
	own.RateLimiter, own.QPS = nil, -1 // Identities have their own limits, which distinguish the clients.
	c, err := client.New(own, client.Options{Scheme: m.GetScheme(), Mapper: m.GetRESTMapper()})
	if err != nil {
		return nil, fmt.Errorf("make a client for reviews of tokens: %w", err)
	}
	return c, nil
}

// leaderURL finds the leader by its lease. It returns nothing if there is no lease, or if this replica leads without a
// lease.
func (p *plane) leaderURL(ctx context.Context, reader client.Reader) (string, error) {
	lease := &coordinationv1.Lease{}
	if err := reader.Get(ctx, client.ObjectKey{Namespace: p.namespace, Name: leaseName}, lease); err != nil {
		if apierrors.IsNotFound(err) {
			return "", nil
		}
		return "", fmt.Errorf("read the leader's lease: %w", err)
	}
	holder := lease.Spec.HolderIdentity
	if holder == nil || *holder == "" || *holder == p.identity() {
		return "", nil
	}
	address := (*holder)[strings.LastIndexByte(*holder, '_')+1:]
	return "https://" + net.JoinHostPort(address, fmt.Sprint(webhookPort)), nil
}

// dialReplica connects to another replica, which must have the certificate of the control plane.
func (p *plane) dialReplica(ctx context.Context, network, address string) (net.Conn, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(p.keeper.CABundle()) {
		return nil, errors.New("no CA of the control plane yet")
	}
	dialer := &tls.Dialer{Config: &tls.Config{ServerName: p.serviceName(), RootCAs: roots, MinVersion: tls.VersionTLS12}}
	return dialer.DialContext(ctx, network, address)
}
