#!/bin/sh
# Makes .venv with the pinned dependencies and Hanse itself, unless it is up to date.
# Usage: scripts/setup.sh [run|dev]; PYTHON names the interpreter, VENV the folder (default .venv).
set -eu
cd "$(dirname "$0")/.."
kind=${1:-run}
venv=${VENV:-.venv}
case $kind in
  run) lock=requirements.lock ;;
  dev) lock=requirements-dev.lock ;;
  *) echo "usage: scripts/setup.sh [run|dev]" >&2; exit 2 ;;
esac

fits() {
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
  if [ -n "${PYTHON:-}" ]; then
    fits "$PYTHON" || { echo "PYTHON=$PYTHON is not Python 3.11 or newer" >&2; exit 1; }
    echo "$PYTHON"; return
  fi
  for candidate in python3 python3.14 python3.13 python3.12 python3.11 python; do
    if command -v "$candidate" >/dev/null 2>&1 && fits "$candidate"; then
      echo "$candidate"; return
    fi
  done
  echo "Hanse needs Python 3.11 or newer: install it, or name one with PYTHON=/path/to/python3" >&2
  exit 1
}

# What was installed is remembered as a checksum of what says so.
wanted="$(cat pyproject.toml "$lock" scripts/setup.sh | cksum | tr ' ' '-')"
stamp="$venv/.hanse-$kind"
if [ -x "$venv/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && fits "$venv/bin/python"; then
  exit 0
fi

if ! fits "$venv/bin/python"; then
  python=$(find_python)
  echo "making $venv with $("$python" --version 2>&1)"
  rm -rf "$venv"
  if ! "$python" -m venv "$venv" 2>"${TMPDIR:-/tmp}/hanse-venv.$$"; then
    cat "${TMPDIR:-/tmp}/hanse-venv.$$" >&2; rm -f "${TMPDIR:-/tmp}/hanse-venv.$$"
    echo "cannot make a virtual environment: install the venv module (on Debian and Ubuntu: python3-venv)" >&2
    rm -rf "$venv"
    exit 1
  fi
  rm -f "${TMPDIR:-/tmp}/hanse-venv.$$"
fi

echo "installing the dependencies in $lock"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
  --requirement "$lock"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
printf '%s' "$wanted" >"$stamp"
if [ "$kind" = dev ]; then
  cat pyproject.toml requirements.lock scripts/setup.sh | cksum | tr ' ' '-' >"$venv/.hanse-run"
fi
