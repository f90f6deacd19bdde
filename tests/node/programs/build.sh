#!/usr/bin/env bash
# Makes what runs in Pods or beside them in tests/node: coredns, which answers the host cluster's own names, kube-router,
# which enforces its NetworkPolicies, etcd and etcdutl. Prints, as the last line on standard output, the directory that
# has them.
set -euo pipefail
readonly name=node-programs otherwise=
. "$(dirname "${BASH_SOURCE[0]}")/../../support/go_build.bash"

build() {
  say "building coredns, kube-router, etcd and etcdutl (the first time takes minutes)"
  (cd coredns && go_build "$1" "$2" -ldflags='-s -w' github.com/coredns/coredns)
  (cd kube-router && go_build "$1" "$2" -ldflags='-s -w' github.com/cloudnativelabs/kube-router/v2/cmd/kube-router)
  (cd etcd && go_build "$1" "$2" -ldflags='-s -w' . go.etcd.io/etcd/etcdutl/v3)
}

cd "$(dirname "${BASH_SOURCE[0]}")"
kept_build "coredns kube-router etcd" build coredns kube-router etcd etcdutl
