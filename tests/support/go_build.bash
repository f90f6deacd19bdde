# Builds Go programs for tests and keeps them; sourced by the scripts that say which. Progress and errors go to
# standard error.
#
#   HANSE_CACHE  where builds are kept (default: $XDG_CACHE_HOME/hanse or ~/.cache/hanse)
#
# A build is kept under the hash of what it is made of; several callers at once wait for one build; one that nobody has
# asked for in a week is removed. It uses Go's own module and build caches, and no other.
export LC_ALL=C

say() { printf '%s: %s\n' "$name" "$*" >&2; }
die() { say "$*"; exit 1; }

has_programs() { # DIRECTORY PROGRAM...
  local program directory=$1
  shift
  for program in "$@"; do [[ -x "$directory/$program" ]] || return 1; done
}

sha256() { if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi; }

# The first line of a log that names the trouble, else its last line.
trouble() { { grep -m1 -iE 'error|cannot|no such host|denied|refused|timeout|not found|forbidden|mismatch|requires' "$1" || tail -n1 "$1"; } | cut -c1-300; }

# Prints the directory that has the programs, made if it must be by a function of the caller's that is given an empty
# directory to build into and a file for its log.
kept_build() { # INPUTS FUNCTION PROGRAM...
  local inputs=$1 build=$2 key cache target
  shift 2
  key=$(find $inputs -type f | sort | xargs cat | sha256 | cut -d' ' -f1)
  cache=${HANSE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/hanse}/$name
  target=$cache/$key
  if ! has_programs "$target" "$@"; then
    command -v go >/dev/null || die "Go is not installed; install the version that go.mod names${otherwise:+, or $otherwise}"
    mkdir -p "$cache"
    if command -v flock >/dev/null; then # one build at a time; the lock ends with this process
      exec 9>"$cache/.lock"
      flock 9
    fi
  fi
  if ! has_programs "$target" "$@"; then
    work=$(mktemp -d "$cache/.build.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    mkdir "$work/bin"
    "$build" "$work/bin" "$work/log"
    rm -rf "$target"
    mv "$work/bin" "$target"
    say "built in ${SECONDS}s"
  fi
  touch "$target"
  find "$cache" -mindepth 1 -maxdepth 1 -type d -mtime +7 -exec rm -rf {} + # builds of other days
  printf '%s\n' "$target"
}

# go build, with what all builds have in common.
go_build() { # DIRECTORY LOG ARGUMENT...
  local directory=$1 log=$2
  shift 2
  GOWORK=off CGO_ENABLED=0 nice -n 5 go build -mod=readonly -trimpath -buildvcs=false -o "$directory/" "$@" 2>"$log" 9>&- \
    || die "the build failed: $(trouble "$log")"
}
