package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"gatehouse/tests/cluster/pki"
)

// writeCredentials makes the CA and all certificates and kubeconfigs of a cluster whose API server is published at
// the host's loopback address.
func writeCredentials(l layout, loopback netip.AddrPort) error {
	authority, err := pki.NewAuthority("gatehouse-local-cluster")
	if err != nil {
		return err
	}
	server, err := authority.Server("kube-apiserver", []string{
		"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + clusterDomain,
	}, []netip.Addr{firstService, gateway, loopback.Addr(), netip.MustParseAddr("127.0.0.1")})
	if err != nil {
		return err
	}
	serviceAccounts, err := pki.NewKey()
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{
		"ca.crt":               authority.Certificate,
		"apiserver.crt":        server.Certificate,
		"apiserver.key":        server.Key,
		"service-accounts.key": serviceAccounts,
	} {
		if err := os.WriteFile(l.pki(name), content, 0o600); err != nil {
			return fmt.Errorf("writing the cluster's certificates: %w", err)
		}
	}

	admin, err := authority.Client("admin", "system:masters")
	if err != nil {
		return err
	}
	controllerManager, err := authority.Client("system:kube-controller-manager")
	if err != nil {
		return err
	}
	webhooks, err := authority.Client("kube-apiserver")
	if err != nil {
		return err
	}
	inside := netip.AddrPortFrom(gateway, apiPort)
	for _, config := range []struct {
		path   string
		server netip.AddrPort
		user   string
		client pki.Pair
	}{
		{l.kubeconfig(), loopback, "admin", admin},
		{l.insideKubeconfig(), inside, "admin", admin},
		{l.pki(webhooksKubeconfig), inside, "*", webhooks}, // What is shown to webhooks, whichever their name.
		{l.pki("controller-manager.kubeconfig"), inside, "system:kube-controller-manager", controllerManager},
	} {
		if err := clientcmd.WriteToFile(kubeconfig(l, config.server, config.user, authority, config.client),
			config.path); err != nil {
			return fmt.Errorf("writing %s: %w", config.path, err)
		}
	}
	if err := os.WriteFile(l.pki(admissionConfig), []byte(admission(l)), 0o600); err != nil {
		return fmt.Errorf("writing the configuration of admission: %w", err)
	}
	return nil
}

// Files of the API server by which it shows a client certificate to webhooks.
const (
	admissionConfig    = "admission.yaml"
	webhooksKubeconfig = "webhooks.kubeconfig"
)

// admission is the API server's configuration of admission. See "Authenticate API servers" of Kubernetes' page on
// dynamic admission control.
func admission(l layout) string {
	config := "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n"
	for _, plugin := range []string{"ValidatingAdmissionWebhook", "MutatingAdmissionWebhook"} {
		config += fmt.Sprintf("- name: %s\n  configuration:\n    apiVersion: apiserver.config.k8s.io/v1\n    kind: WebhookAdmissionConfiguration\n"+
			"    kubeConfigFile: %q\n", plugin, l.pki(webhooksKubeconfig))
	}
	return config
}

func kubeconfig(l layout, server netip.AddrPort, user string, authority *pki.Authority, client pki.Pair) api.Config {
	name := filepath.Base(filepath.Dir(l.dir)) + "/" + filepath.Base(l.dir)
	config := *api.NewConfig()
	config.Clusters[name] = &api.Cluster{
		Server:                   "https://" + server.String(),
		CertificateAuthorityData: authority.Certificate,
	}
	config.AuthInfos[user] = &api.AuthInfo{ClientCertificateData: client.Certificate, ClientKeyData: client.Key}
	config.Contexts[name] = &api.Context{Cluster: name, AuthInfo: user}
	config.CurrentContext = name
	return config
}

// writeResolvConf writes the /etc/resolv.conf that `exec` shows its command: that of a pod in namespace default.
func writeResolvConf(l layout) error {
	content := fmt.Sprintf("nameserver %s\nsearch default.svc.%s svc.%s %s\noptions ndots:5\n", gateway, clusterDomain,
		clusterDomain, clusterDomain)
	if err := os.WriteFile(l.resolvConf(), []byte(content), 0o644); err != nil {
		return fmt.Errorf("writing resolv.conf: %w", err)
	}
	return nil
}
