// Command etcd is the etcd of the local Kubernetes in tests/cluster, built from etcd's server module.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	etcdmain.Main(os.Args)
}
