#!/usr/bin/env bash
# Makes promtool, which evaluates alert rules, and helm, which renders the chart, and prints, as the last line on
# standard output, the directory that holds them. Progress and errors go to standard error.
#
#   HANSE_TEST_TOOLS  a directory that has both: it is printed, nothing is built
#   HANSE_CACHE       where builds are kept (default: $XDG_CACHE_HOME/hanse or ~/.cache/hanse)
#
# A build is kept under the hash of go.mod and go.sum; several callers at once wait for one; one that nobody has
# asked for in a week is removed.
set -euo pipefail
export LC_ALL=C

readonly programs=(promtool helm)

say() { printf 'tools: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

has_programs() {
  local program
  for program in "${programs[@]}"; do [[ -x "$1/$program" ]] || return 1; done
}

if [[ -n "${HANSE_TEST_TOOLS:-}" ]]; then
  has_programs "$HANSE_TEST_TOOLS" || die "HANSE_TEST_TOOLS is $HANSE_TEST_TOOLS, which has no ${programs[*]}: name a directory that has them, or unset it to have them built"
  printf '%s\n' "$HANSE_TEST_TOOLS"
  exit 0
fi

cd "$(dirname "${BASH_SOURCE[0]}")"
sha256() { if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi; }
key=$(cat go.mod go.sum | sha256 | cut -d' ' -f1)
cache=${HANSE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/hanse}/tools
target=$cache/$key

if ! has_programs "$target"; then
  command -v go >/dev/null || die "Go is not installed; install the version that go.mod names, or set HANSE_TEST_TOOLS"
  mkdir -p "$cache"
  if command -v flock >/dev/null; then # one build at a time; the lock ends with this process
    exec 9>"$cache/.lock"
    flock 9
  fi
fi

if ! has_programs "$target"; then
  work=$(mktemp -d "$cache/.build.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  mkdir "$work/bin"
  say "building ${programs[*]} (the first time takes minutes)"
  # promtool without what it needs to ask clouds for targets, and without a web page.
  GOWORK=off CGO_ENABLED=0 nice -n 5 go build -mod=readonly -trimpath -buildvcs=false -ldflags='-s -w' \
    -tags=remove_all_sd,builtinassets -o "$work/bin/" \
    github.com/prometheus/prometheus/cmd/promtool helm.sh/helm/v3/cmd/helm 2>"$work/log" 9>&- \
    || die "the build failed: $(grep -m1 -iE 'error|cannot|no such host|denied|refused|timeout|not found|requires' "$work/log" || tail -n1 "$work/log")"
  rm -rf "$target"
  mv "$work/bin" "$target"
  say "built in ${SECONDS}s"
fi
touch "$target"
find "$cache" -mindepth 1 -maxdepth 1 -type d -mtime +7 -exec rm -rf {} + # builds of other days
printf '%s\n' "$target"
