#!/bin/sh
# Installs Hanse as a user does who has only its wheel, on each Python 3.11 or newer that is at hand, and does what the
# README shows first. For `make install-check`.
#
#   PYTHONS  the interpreters to use (default: one of each version on PATH and of pyenv)
#   PINNED   empty to let pip take the newest dependencies (default 1: the versions in requirements.lock)
#
# Everything is in a temporary directory, and is stopped and removed at the end. What fails is said in one line, with
# the log that tells more.
set -eu
cd "$(dirname "$0")/.."
root=$PWD
PINNED=${PINNED-1}
work=$(mktemp -d "${TMPDIR:-/tmp}/hanse-install.XXXXXX")
hanse=
finish() {
  status=$?
  if [ -n "$hanse" ]; then "$hanse" down --data-dir "$work/data" >/dev/null 2>&1 || true; fi
  rm -rf "$work"
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

step() { # what, command...
  what=$1
  shift
  if ! "$@" >"$work/log" 2>&1; then
    sed 's/^/  /' "$work/log" >&2
    echo "install-check: with $version: $what failed: $*" >&2
    exit 1
  fi
}

says() { # what, text, command...
  what=$1 text=$2
  shift 2
  step "$what" "$@"
  if ! grep -q "$text" "$work/log"; then
    sed 's/^/  /' "$work/log" >&2
    echo "install-check: with $version: $what does not say $text: $*" >&2
    exit 1
  fi
}

. scripts/pythons.sh

# What the machine of whoever runs this has set must not matter.
for variable in $(env | sed -n 's/^\(HANSE_[A-Z_]*\|PYTHON[A-Z]*\|KUBECONFIG\|VIRTUAL_ENV\)=.*/\1/p'); do
  case $variable in PYTHONS | HANSE_CACHE) ;; *) unset "$variable" ;; esac
done

version=${VENV:-.venv}
step "building the wheel" "${VENV:-.venv}/bin/python" -m hatchling build --target wheel --directory "$work"
wheel=$(echo "$work"/*.whl)
found=$(pythons)
grep -o "^[^ #]*==[^ ]*" requirements.lock >"$work/versions"
[ -n "$found" ] || { echo "install-check: no Python 3.11 or newer with venv is at hand; name one in PYTHONS" >&2; exit 1; }

echo "$found" >"$work/pythons"
while read -r python version; do
  began=$(date +%s)
  venv=$work/venv-$version
  cd "$root"
  step "making a virtual environment" "$python" -m venv "$venv"
  step "pip install" "$venv/bin/pip" install --quiet --disable-pip-version-check ${PINNED:+--constraint="$work/versions"} \
    "$wheel[local]"
  cd "$work" # from here on nothing of the source is at hand
  step "pip check" "$venv/bin/pip" check
  hanse=$venv/bin/hanse
  data="--data-dir $work/data"
  # shellcheck disable=SC2086
  step "hanse up" "$hanse" up $data --detach
  export HANSE_CONFIG="$work/data/client.toml"
  says "hanse clusters" eu-west "$hanse" clusters
  step "hanse apply" "$hanse" apply -f "$root/examples/shop"
  says "hanse get" web "$hanse" get deployments -n shop
  says "hanse explain" "replicas" "$hanse" explain deploy/web -n shop
  # The client alone, for who uses a federation that runs elsewhere.
  client=$work/client-$version
  step "making a virtual environment" "$python" -m venv "$client"
  step "pip install of the client" "$client/bin/pip" install --quiet --disable-pip-version-check \
    ${PINNED:+--constraint="$work/versions"} "$wheel"
  step "pip check of the client" "$client/bin/pip" check
  says "hanse clusters of the client" eu-west "$client/bin/hanse" clusters
  says "hanse explain of the client" "replicas" "$client/bin/hanse" explain deploy/web -n shop
  says "hanse up of the client" "pip install 'hanse\[local\]'" sh -c "! '$client/bin/hanse' up"
  says "kubefed init of the client" "pip install 'hanse\[server\]'" sh -c "! '$client/bin/kubefed' init hanse --dry-run"
  size="$(du -sm "$client" | cut -f1) of $(du -sm "$venv" | cut -f1) MB"
  rm -rf "$client"
  # What is applied to a host cluster is what deploy/k8s has, out of the wheel alone.
  if command -v kubectl >/dev/null; then
    for overlay in single ha air-gapped host-member; do
      step "kubectl kustomize" sh -c "kubectl kustomize '$root/deploy/k8s/overlays/$overlay' >'$work/overlay.yaml'"
      step "kubefed init --dry-run -o yaml" sh -c \
        "'$venv/bin/kubefed' init hanse --overlay=$overlay --dry-run -o yaml >'$work/made.yaml'"
      step "kubefed init --dry-run equals the overlay $overlay:" cmp "$work/overlay.yaml" "$work/made.yaml"
    done
    says "kubefed init --dry-run" "deployment.apps/hanse-apiserver (dry run)" "$venv/bin/kubefed" init hanse \
      --image=registry.example.org/hanse:0.1.0 --dry-run
    initialized=" the manifests of kubefed init are those of deploy/k8s,"
  else
    initialized=" kubectl is not installed, so kubefed init was not tried,"
  fi
  says "kubefed version" "client" "$venv/bin/kubefed" version
  # shellcheck disable=SC2086
  says "hanse status" eu-west "$hanse" status $data
  # shellcheck disable=SC2086
  step "hanse down" "$hanse" down $data
  hanse=
  rm -rf "$work/data" "$venv"
  echo "Python $version ($python): installed,$initialized a federation ran, the client alone ($size) used it, and it ended, in $(($(date +%s) - began)) s"
done <"$work/pythons"
