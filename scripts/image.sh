#!/bin/sh
# Builds the image of Hanse's services from deploy/Dockerfile, for `make image`. See docs/image.md.
#
#   IMAGE    its name (default hanse:VERSION)
#   BASE     the image that gives it Python (default: the one in deploy/Dockerfile)
#   BUILDER  docker, podman or buildah (default: the first of them that works here)
#   OUT      where the archive and the list of contents go (default build/image)
#   PIP_CERT, PIP_CONFIG_FILE  for a package index behind a proxy, or one of your own
#   REVISION, SOURCE_DATE_EPOCH  what the image says of its source (default: the commit, and its time)
#   NO_CACHE    1 to build everything again
#   BUILD_ARGS  more arguments for the builder, such as --network=host
#
# The last line on standard output is the digest of the image.
set -eu
cd "$(dirname "$0")/.."

say() { printf 'image: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

works() {
  case $1 in
    docker) docker version >/dev/null 2>&1 ;; # the client alone builds nothing
    *) command -v "$1" >/dev/null ;;
  esac
}

if [ -n "${BUILDER:-}" ]; then
  case $BUILDER in docker | podman | buildah) ;; *) die "BUILDER is $BUILDER: it is docker, podman or buildah" ;; esac
  works "$BUILDER" || die "BUILDER is $BUILDER, which does not work here: install it, or start its daemon"
else
  for candidate in docker podman buildah; do
    if works "$candidate"; then BUILDER=$candidate; break; fi
  done
  if [ -z "${BUILDER:-}" ]; then
    if command -v docker >/dev/null; then
      die "docker is installed and its daemon does not answer: start it, or install podman or buildah"
    fi
    die "no docker, podman or buildah: install one of them (on Debian and Ubuntu: apt-get install buildah)"
  fi
fi

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
revision=${REVISION:-}
epoch=${SOURCE_DATE_EPOCH:-}
if git rev-parse HEAD >/dev/null 2>&1; then
  changed=$(git status --porcelain)
  revision=${revision:-$(git rev-parse HEAD)${changed:+-dirty}}
  epoch=${epoch:-$(git log -1 --format=%ct)}
fi
revision=${revision:-unknown}
epoch=${epoch:-0}
created=$(date -u -d "@$epoch" +%Y-%m-%dT%H:%M:%SZ 2>/dev/null || date -u -r "$epoch" +%Y-%m-%dT%H:%M:%SZ)
image=${IMAGE:-hanse:$version}
out=${OUT:-build/image}
mkdir -p "$out"
archive=$out/hanse-$version.tar
sbom=$out/hanse-$version.cdx.json

set -- --file deploy/Dockerfile --build-arg "SOURCE_DATE_EPOCH=$epoch" \
  --label "org.opencontainers.image.version=$version" --label "org.opencontainers.image.revision=$revision" \
  --label "org.opencontainers.image.created=$created"
[ -z "${BASE:-}" ] || set -- "$@" --build-arg "BASE=$BASE"
certificates=${PIP_CERT:-${SSL_CERT_FILE:-}}
if [ -z "$certificates" ] && [ -f /etc/ssl/certs/ca-certificates.crt ]; then
  certificates=/etc/ssl/certs/ca-certificates.crt # whom this machine trusts, the build trusts too
fi
[ -z "$certificates" ] || set -- "$@" --secret "id=pip_ca,src=$certificates"
[ -z "${PIP_CONFIG_FILE:-}" ] || set -- "$@" --secret "id=pip_conf,src=$PIP_CONFIG_FILE"

say "building $image with $BUILDER"
rm -f "$archive" "$sbom"
# shellcheck disable=SC2086 # several arguments
set -- "$@" ${BUILD_ARGS:-}
case $BUILDER in
  docker)
    # An attestation would have the time of the build in it.
    export DOCKER_BUILDKIT=1 BUILDX_NO_DEFAULT_ATTESTATIONS=1
    ;;
  podman | buildah)
    # Nor does the builder put its own version into the labels.
    set -- --format oci --layers --identity-label=false --timestamp "$epoch" \
      --ignorefile deploy/Dockerfile.dockerignore "$@"
    ;;
esac
"$BUILDER" build "$@" ${NO_CACHE:+--no-cache} --tag "$image" . >&2
"$BUILDER" build "$@" --target sbom --output "type=local,dest=$out" . >&2
mv "$out/sbom.cdx.json" "$sbom"
case $BUILDER in
  docker)
    docker save --output "$archive" "$image"
    digest=$(docker image inspect --format '{{.Id}}' "$image")
    ;;
  podman | buildah)
    "$BUILDER" push --quiet --digestfile "$out/digest" "$image" "oci-archive:$archive:$image"
    digest=$(cat "$out/digest")
    rm -f "$out/digest"
    ;;
esac
say "$archive, and what is in it: $sbom"
printf '%s\n' "$digest"
