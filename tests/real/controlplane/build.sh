#!/usr/bin/env bash
# Makes kube-apiserver, kube-controller-manager, etcd and kubectl for the tests and prints, as the last line
# on standard output, the directory that holds them. Progress and errors go to standard error.
#
#   KUBEBUILDER_ASSETS  a directory that has the Kubernetes programs already: it is printed, nothing is built
#   HANSE_CACHE         where builds are kept (default: $XDG_CACHE_HOME/hanse or ~/.cache/hanse)
#
# A build is kept under the hash of go.mod, go.sum and cmd/, so it is made once per change of those;
# several callers at once wait for one build; one that nobody has asked for in a week is removed. It uses
# Go's own module and build caches, and no other.
set -euo pipefail
export LC_ALL=C

readonly programs=(kube-apiserver kube-controller-manager)

say() { printf 'controlplane: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

has_programs() {
  local program
  for program in "${programs[@]}"; do [[ -x "$1/$program" ]] || return 1; done
}

sha256() { if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi; }

# The first line of a log that names the trouble, else its last line.
trouble() { { grep -m1 -iE 'error|cannot|no such host|denied|refused|timeout|not found|forbidden|mismatch|requires' "$1" || tail -n1 "$1"; } | cut -c1-300; }

if [[ -n "${KUBEBUILDER_ASSETS:-}" ]]; then
  has_programs "$KUBEBUILDER_ASSETS" || die "KUBEBUILDER_ASSETS is $KUBEBUILDER_ASSETS, which has no ${programs[*]}: name a directory that has them, or unset it to have them built"
  printf '%s\n' "$KUBEBUILDER_ASSETS"
  exit 0
fi

cd "$(dirname "${BASH_SOURCE[0]}")"
key=$(find go.mod go.sum cmd -type f | sort | xargs cat | sha256 | cut -d' ' -f1)
cache=${HANSE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/hanse}/controlplane
target=$cache/$key

if ! has_programs "$target"; then
  command -v go >/dev/null || die "Go is not installed; install the version that go.mod names, or set KUBEBUILDER_ASSETS to a directory with ${programs[*]}"
  mkdir -p "$cache"
  if command -v flock >/dev/null; then # one build at a time; the lock ends with this process
    exec 9>"$cache/.lock"
    flock 9
  fi
fi

if ! has_programs "$target"; then
  work=$(mktemp -d "$cache/.build.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  log=$work/log
  export GOWORK=off CGO_ENABLED=0

  say "fetching modules"
  if ! go list -mod=readonly -deps ./cmd/... >/dev/null 2>"$log"; then
    grep -q 'requires go >=' "$log" && die "this Go is too old: $(trouble "$log")"
    die "a Go module could not be fetched: $(trouble "$log")"
  fi

  version=$(go list -mod=readonly -m -f '{{.Version}}' k8s.io/kubernetes)
  IFS=. read -r major minor _ <<<"${version#v}"
  flags='-s -w'
  for pair in "gitVersion=$version" "gitMajor=$major" "gitMinor=$minor" gitCommit= gitTreeState=archive; do
    flags+=" -X k8s.io/component-base/version.$pair -X k8s.io/client-go/pkg/version.$pair"
  done

  say "building Kubernetes $version (the first time takes minutes)"
  mkdir "$work/bin"
  nice -n 5 go build -mod=readonly -trimpath -buildvcs=false -ldflags="$flags" -o "$work/bin/" ./cmd/... 2>"$log" 9>&- \
    || die "the build failed: $(trouble "$log")"
  rm -rf "$target"
  mv "$work/bin" "$target"
  say "built $version in ${SECONDS}s"
fi
touch "$target"
find "$cache" -mindepth 1 -maxdepth 1 -type d -mtime +7 -exec rm -rf {} + # builds of other days
printf '%s\n' "$target"
