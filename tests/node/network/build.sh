#!/usr/bin/env bash
# Makes coredns, which answers the host cluster's own names, and kube-router, which enforces its NetworkPolicies, and
# prints, as the last line on standard output, the directory that holds them.
set -euo pipefail
readonly name=network otherwise=
. "$(dirname "${BASH_SOURCE[0]}")/../../support/go_build.bash"

build() {
  say "building coredns and kube-router (the first time takes minutes)"
  (cd coredns && go_build "$1" "$2" -ldflags='-s -w' github.com/coredns/coredns)
  (cd kube-router && go_build "$1" "$2" -ldflags='-s -w' github.com/cloudnativelabs/kube-router/v2/cmd/kube-router)
}

cd "$(dirname "${BASH_SOURCE[0]}")"
kept_build "coredns kube-router" build coredns kube-router
