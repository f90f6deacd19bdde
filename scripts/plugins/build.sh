#!/usr/bin/env bash
# Makes the plugins that generate Go and TypeScript of the contracts, and prints, as the last line on standard output,
# the directory that holds them. Needs Go, Node.js and npm. For `make clients`, which needs protoc for Java besides.
set -euo pipefail
readonly name=plugins programs=(protoc-gen-go protoc-gen-go-grpc protoc-gen-es)
. "$(dirname "${BASH_SOURCE[0]}")/../../tests/support/go_build.bash"

build() {
  say "building ${programs[*]}"
  go_build "$1" "$2" tool
  mkdir "$1/node"
  cp package.json package-lock.json "$1/node"
  (cd "$1/node" && npm ci --no-audit --no-fund --loglevel=error >"$2" 2>&1) || die "npm ci failed: $(trouble "$2")"
  ln -s node/node_modules/.bin/protoc-gen-es "$1/protoc-gen-es"
}

cd "$(dirname "${BASH_SOURCE[0]}")"
command -v npm >/dev/null || die "npm is not installed: install Node.js 20 or newer (on Debian and Ubuntu: nodejs, npm)"
kept_build "go.mod go.sum package.json package-lock.json" build "${programs[@]}"
