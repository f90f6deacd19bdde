// Command etcd is the upstream etcd of the release that this Kubernetes is made for: with an older one
// an API server serves no streaming lists and no consistent lists from its cache.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	etcdmain.Main(os.Args)
}
