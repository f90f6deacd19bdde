#!/usr/bin/env bash
# Makes promtool, which evaluates alert rules, and helm, which renders the chart, and prints, as the last line on
# standard output, the directory that holds them.
#
#   HANSE_TEST_TOOLS  a directory that has both: it is printed, nothing is built
set -euo pipefail
readonly name=tools programs=(promtool helm) otherwise="set HANSE_TEST_TOOLS"
. "$(dirname "${BASH_SOURCE[0]}")/../../support/go_build.bash"

if [[ -n "${HANSE_TEST_TOOLS:-}" ]]; then
  has_programs "$HANSE_TEST_TOOLS" "${programs[@]}" || die "HANSE_TEST_TOOLS is $HANSE_TEST_TOOLS, which has no ${programs[*]}: name a directory that has them, or unset it to have them built"
  printf '%s\n' "$HANSE_TEST_TOOLS"
  exit 0
fi

build() {
  say "building ${programs[*]} (the first time takes minutes)"
  # promtool without what it needs to ask clouds for targets, and without a web page.
  go_build "$1" "$2" -ldflags='-s -w' -tags=remove_all_sd,builtinassets \
    github.com/prometheus/prometheus/cmd/promtool helm.sh/helm/v3/cmd/helm
}

cd "$(dirname "${BASH_SOURCE[0]}")"
kept_build "go.mod go.sum" build "${programs[@]}"
