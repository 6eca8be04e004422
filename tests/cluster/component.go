package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"gatehouse/tests/cluster/node/family"
)

// component is a process of the control plane.
type component struct {
	name string
	args []string
}

// A process that ends this early, so often in a row, is given up.
const (
	shortLife  = 3 * time.Second
	shortLives = 5
)

// run keeps the process running until ctx ends, then kills it: a cluster's data does not outlive it, so there is
// nothing to save. Output goes to the component's log. One that ends by itself is started again after a second,
// and is an error when it does not get to work at all.
func (c component) run(ctx context.Context, l layout, o options, restarted func()) error {
	log, err := os.Create(l.log(c.name))
	if err != nil {
		return fmt.Errorf("creating the log of %s: %w", c.name, err)
	}
	defer log.Close()
	for short := 0; ; {
		begin := time.Now()
		cmd := exec.CommandContext(ctx, filepath.Join(o.Binaries, c.name), c.args...)
		cmd.Stdout, cmd.Stderr = log, log
		cmd.Dir = l.dir
		err := cmd.Run()
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOEXEC) {
			return fmt.Errorf("starting %s: %w", c.name, err)
		}
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(begin) > shortLife {
			short = 0
		}
		if short++; short == shortLives {
			return fmt.Errorf("%s keeps ending: %w%s", c.name, err, lastWords(l, c.name))
		}
		fmt.Fprintf(log, "%s ended by itself (%v) and is started again\n", c.name, err)
		restarted()
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
		}
	}
}

func etcd(l layout) component {
	return component{name: "etcd", args: []string{
		"--name=local",
		"--data-dir=" + l.etcd(),
		"--listen-client-urls=" + etcdURL,
		"--advertise-client-urls=" + etcdURL,
		"--listen-peer-urls=http://127.0.0.1:2380",
		"--initial-advertise-peer-urls=http://127.0.0.1:2380",
		"--initial-cluster=local=http://127.0.0.1:2380",
		"--unsafe-no-fsync", // The data does not outlive the cluster.
		"--heartbeat-interval=50",
		"--election-timeout=250", // A lone member need not wait longer for a leader.
		"--quota-backend-bytes=8589934592",
		"--log-level=warn",
	}}
}

func apiServer(l layout, families []family.Family) component {
	var services []string
	for _, f := range families {
		services = append(services, f.Services.String())
	}
	return component{name: "kube-apiserver", args: []string{
		"--etcd-servers=" + etcdURL,
		"--bind-address=" + gateway.String(),
		"--advertise-address=" + gateway.String(),
		fmt.Sprintf("--secure-port=%d", apiPort),
		"--tls-cert-file=" + l.pki("apiserver.crt"),
		"--tls-private-key-file=" + l.pki("apiserver.key"),
		"--client-ca-file=" + l.pki("ca.crt"),
		"--admission-control-config-file=" + l.pki(admissionConfig),
		"--service-account-issuer=https://kubernetes.default.svc." + clusterDomain,
		"--service-account-key-file=" + l.pki("service-accounts.key"),
		"--service-account-signing-key-file=" + l.pki("service-accounts.key"),
		"--service-cluster-ip-range=" + strings.Join(services, ","),
		"--authorization-mode=RBAC",
		"--allow-privileged=true",
		// ClusterTrustBundle is served as v1 from 1.37 on, and before only if asked for.
		"--feature-gates=ClusterTrustBundle=true",
		"--runtime-config=certificates.k8s.io/v1beta1/clustertrustbundles=true",
		"--enable-aggregator-routing=true", // Webhooks are dialled at their endpoints.
		"--kubelet-preferred-address-types=InternalIP",
		"--enable-priority-and-fairness=false", // Benchmarks measure Gatehouse and not a queue.
		"--max-requests-inflight=0",
		"--max-mutating-requests-inflight=0",
		"--profiling=false",
	}}
}

// controllers are those that the pods of a Gateway, the conformance suite and the tests of Gatehouse need.
const controllers = "deployment-controller,replicaset-controller,daemonset-controller,endpointslice-controller," +
	"namespace-controller,serviceaccount-controller,garbage-collector-controller," +
	"root-ca-certificate-publisher-controller,horizontal-pod-autoscaler-controller,disruption-controller," +
	"job-controller,ttl-after-finished-controller"

func controllerManager(l layout) component {
	return component{name: "kube-controller-manager", args: []string{
		"--kubeconfig=" + l.pki("controller-manager.kubeconfig"),
		"--service-account-private-key-file=" + l.pki("service-accounts.key"),
		"--root-ca-file=" + l.pki("ca.crt"),
		"--use-service-account-credentials=true",
		"--controllers=" + controllers,
		"--leader-elect=false",
		"--kube-api-qps=200",
		"--kube-api-burst=400",
		"--secure-port=0", // Nobody asks it anything.
		"--profiling=false",
	}}
}
