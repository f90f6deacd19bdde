#!/usr/bin/env bash
# Makes promtool, which evaluates alert rules, and prints, as the last line on standard output, where it is. Progress
# and errors go to standard error.
#
#   PROMTOOL     a promtool to use: it is printed, nothing is built
#   HANSE_CACHE  where builds are kept (default: $XDG_CACHE_HOME/hanse or ~/.cache/hanse)
#
# A build is kept under the hash of go.mod and go.sum; several callers at once wait for one; one that nobody has
# asked for in a week is removed.
set -euo pipefail
export LC_ALL=C

say() { printf 'promtool: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

if [[ -n "${PROMTOOL:-}" ]]; then
  [[ -x "$PROMTOOL" ]] || die "PROMTOOL is $PROMTOOL, which is no program: name one, or unset it to have one built"
  printf '%s\n' "$PROMTOOL"
  exit 0
fi

cd "$(dirname "${BASH_SOURCE[0]}")"
sha256() { if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi; }
key=$(cat go.mod go.sum | sha256 | cut -d' ' -f1)
cache=${HANSE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/hanse}/promtool
target=$cache/$key

if [[ ! -x "$target/promtool" ]]; then
  command -v go >/dev/null || die "Go is not installed; install the version that go.mod names, or set PROMTOOL to a promtool"
  mkdir -p "$cache"
  if command -v flock >/dev/null; then # one build at a time; the lock ends with this process
    exec 9>"$cache/.lock"
    flock 9
  fi
fi

if [[ ! -x "$target/promtool" ]]; then
  work=$(mktemp -d "$cache/.build.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  say "building (the first time takes minutes)"
  # Without what it needs to ask clouds for targets, and without a web page.
  GOWORK=off CGO_ENABLED=0 nice -n 5 go build -mod=readonly -trimpath -buildvcs=false -ldflags='-s -w' \
    -tags=remove_all_sd,builtinassets -o "$work/bin/promtool" github.com/prometheus/prometheus/cmd/promtool \
    2>"$work/log" 9>&- || die "the build failed: $(grep -m1 -iE 'error|cannot|no such host|denied|refused|timeout|not found|requires' "$work/log" || tail -n1 "$work/log")"
  rm -rf "$target"
  mv "$work/bin" "$target"
  say "built in ${SECONDS}s"
fi
touch "$target"
find "$cache" -mindepth 1 -maxdepth 1 -type d -mtime +7 -exec rm -rf {} + # builds of other days
printf '%s\n' "$target/promtool"
