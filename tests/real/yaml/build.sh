#!/usr/bin/env bash
# Makes a program that reads YAML with the module that Kubernetes reads it with, and prints, as the last line on standard
# output, the directory that holds it.
set -euo pipefail
readonly name=yaml programs=(yaml) otherwise=
. "$(dirname "${BASH_SOURCE[0]}")/../../support/go_build.bash"

build() {
  say "building ${programs[*]}"
  go_build "$1" "$2" .
}

cd "$(dirname "${BASH_SOURCE[0]}")"
kept_build "go.mod go.sum main.go" build "${programs[@]}"
