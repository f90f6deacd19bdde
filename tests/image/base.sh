#!/usr/bin/env bash
# Makes the root file system of a Debian with Python, as a tar file, where no image registry is reached. Prints its path
# as the last line on standard output; progress and errors go to standard error.
#
#   base.sh            trixie, to build the image on
#   base.sh machine    bookworm with systemd, to install on (later systemds do not start under version 1 of cgroups)
#
#   HANSE_CACHE    where it is kept (default: $XDG_CACHE_HOME/hanse or ~/.cache/hanse)
#   DEBIAN_MIRROR  where packages come from (default http://deb.debian.org/debian)
#
# It is kept for a week, under the hash of this file, so that it gets what Debian has mended since. It takes root.
set -euo pipefail
export LC_ALL=C

kind=${1:-base}
packages=python3,python3-venv,ca-certificates,netbase
case $kind in
  base) suite=trixie ;;
  machine) suite=bookworm packages+=,systemd,systemd-sysv,dbus ;;
  *) echo "usage: base.sh [machine]" >&2; exit 2 ;;
esac

say() { printf '%s: %s\n' "$kind" "$*" >&2; }

cache=${HANSE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/hanse}/image-base
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
key=$(cat "${BASH_SOURCE[0]}" | sha256sum | cut -c1-16)-$(date -u +%G%V)
target=$cache/$kind-$key.tar
mkdir -p "$cache"
exec 9>"$cache/.lock" # one at a time; the lock ends with this process
flock 9

if [[ ! -f $target ]]; then
  say "installing Debian $suite with Python (a minute or two)"
  work=$(mktemp -d "$cache/.work.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  if ! TMPDIR=$work nice mmdebstrap --quiet --variant=minbase --include="$packages" \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    "$suite" "$work/root.tar" "$mirror" 9>&- >"$work/log" 2>&1; then
    tail -n 5 "$work/log" >&2
    exit 1
  fi
  find "$cache" -maxdepth 1 -name "*.tar" -not -name "*-$key.tar" -delete # of other weeks
  mv "$work/root.tar" "$target"
  say "made in ${SECONDS}s"
fi
printf '%s\n' "$target"
