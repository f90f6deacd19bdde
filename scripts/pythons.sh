# For other scripts to read: which interpreters of Python are at hand.
# PYTHONS names them; by default they are those on PATH and of pyenv.

# `python version`, one a line, of each that fits and has venv.
pythons() {
  candidates=${PYTHONS:-}
  if [ -z "$candidates" ]; then
    for name in python3 python3.11 python3.12 python3.13 python3.14 python3.15; do
      candidates="$candidates $(command -v "$name" || true)"
    done
    candidates="$candidates $(echo "${PYENV_ROOT:-$HOME/.pyenv}"/versions/*/bin/python3)"
  fi
  for python in $candidates; do
    "$python" -c 'import ensurepip, sys, venv
if sys.version_info >= (3, 11): print(sys.executable, "%d.%d" % sys.version_info[:2])' 2>/dev/null || true
  done | sort -u -k 2,2
}
