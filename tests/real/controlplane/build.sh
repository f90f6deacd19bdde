#!/usr/bin/env bash
# Makes programs of Kubernetes for the tests and prints, as the last line on standard output, the directory that holds
# them.
#
#   build.sh       kube-apiserver, kube-controller-manager, etcd and kubectl: a control plane
#   build.sh node  kubelet, kube-proxy, kube-scheduler and agnhost: what a node has beside it
#
#   KUBEBUILDER_ASSETS  a directory that has the programs of a control plane already: it is printed, nothing is built
set -euo pipefail
readonly name=controlplane${1:+-$1} otherwise="set KUBEBUILDER_ASSETS to a directory that has the programs"
. "$(dirname "${BASH_SOURCE[0]}")/../../support/go_build.bash"

case ${1:-} in
  "") sources=cmd packages=(./cmd/...) programs=(kube-apiserver kube-controller-manager) ;;
  node)
    sources=node packages=(./node/... k8s.io/kubernetes/test/images/agnhost)
    programs=(kubelet kube-proxy kube-scheduler agnhost)
    ;;
  *) die "it is build.sh or build.sh node" ;;
esac

if [[ -n "${KUBEBUILDER_ASSETS:-}" && $# -eq 0 ]]; then
  has_programs "$KUBEBUILDER_ASSETS" "${programs[@]}" || die "KUBEBUILDER_ASSETS is $KUBEBUILDER_ASSETS, which has no ${programs[*]}: name a directory that has them, or unset it to have them built"
  printf '%s\n' "$KUBEBUILDER_ASSETS"
  exit 0
fi

build() {
  local version major minor flags pair
  export GOWORK=off CGO_ENABLED=0
  say "fetching modules"
  if ! go list -mod=readonly -deps "${packages[@]}" >/dev/null 2>"$2"; then
    grep -q 'requires go >=' "$2" && die "this Go is too old: $(trouble "$2")"
    die "a Go module could not be fetched: $(trouble "$2")"
  fi
  version=$(go list -mod=readonly -m -f '{{.Version}}' k8s.io/kubernetes)
  IFS=. read -r major minor _ <<<"${version#v}"
  flags='-s -w'
  for pair in "gitVersion=$version" "gitMajor=$major" "gitMinor=$minor" gitCommit= gitTreeState=archive; do
    flags+=" -X k8s.io/component-base/version.$pair -X k8s.io/client-go/pkg/version.$pair"
  done
  say "building Kubernetes $version (the first time takes minutes)"
  go_build "$1" "$2" -ldflags="$flags" "${packages[@]}"
}

cd "$(dirname "${BASH_SOURCE[0]}")"
kept_build "go.mod go.sum $sources" build "${programs[@]}"
