#!/usr/bin/env bash
# Makes the program that has Kubernetes' conformance specs and prints, as the last line on standard output, the
# directory that holds it.
set -euo pipefail
readonly name=conformance otherwise=
. "$(dirname "${BASH_SOURCE[0]}")/../support/go_build.bash"

build() {
  say "building Kubernetes' conformance specs (the first time takes minutes)"
  go_build "$1" "$2" -ldflags='-s -w' .
}

cd "$(dirname "${BASH_SOURCE[0]}")/suite"
kept_build "go.mod go.sum main.go" build conformance
