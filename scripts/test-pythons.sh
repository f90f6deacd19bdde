#!/bin/sh
# Runs tests on each other Python 3.11 or newer that is at hand: by default those that need no other process, which
# show what differs between versions of Python. For `make test-pythons`.
#
#   PYTHONS  the interpreters to use (default: one of each version on PATH and of pyenv, but that of .venv)
#   TESTS    what to run
#
# The virtual environments stay in the user's cache, and are made again when the lock file changes.
set -eu
cd "$(dirname "$0")/.."
TESTS=${TESTS:-tests/kube/merge tests/kube/client tests/federation tests/control tests/rpc tests/scheduler tests/dns}
cache=${HANSE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/hanse}/pythons
own=$("${VENV:-.venv}/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
lock=$(cksum <requirements-dev.lock | cut -d ' ' -f 1)

. scripts/pythons.sh

pythons | while read -r python version; do
  [ "$version" != "$own" ] || continue
  venv=$cache/$version-$lock
  if [ ! -f "$venv/done" ]; then
    rm -rf "$cache/$version-"*
    mkdir -p "$cache"
    "$python" -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --require-hashes \
      --requirement requirements-dev.lock
    touch "$venv/done"
  fi
  roots=$(echo src services/* clients/* local)
  echo "Python $version"
  # shellcheck disable=SC2086
  PYTHONPATH=$(for root in $roots; do printf '%s/%s:' "$PWD" "$root"; done) \
    "$venv/bin/python" -m pytest -q -n 2 -p no:cacheprovider $TESTS </dev/null
done
