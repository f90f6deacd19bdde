#!/bin/sh
# Installs Hanse on a machine with systemd and an etcd of yours, or updates it. See docs/systemd.md.
#
#   install.sh WHEEL [--find-links DIRECTORY] [--constraint FILE]
#   install.sh --remove
#
# WHEEL is Hanse's own, or a requirement such as hanse==0.1.0. With --find-links no index is asked: DIRECTORY has all
# wheels. Each installation has a folder of its own, and /opt/hanse is a link to the current one: to go back, let it point
# to the one before and restart hanse.target.
# --remove takes out programs, units and users, and leaves /etc/hanse, which has the keys.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
units="hanse@.service hanse.target hanse-configure.service hanse-configure.timer"
services="apiserver registry scheduler syncer dns"

die() { echo "install.sh: $*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || die "run it as root"
[ -d /run/systemd/system ] || die "this machine does not run systemd"

if [ "${1:-}" = --remove ]; then
  systemctl disable --quiet --now hanse-configure.timer hanse.target 2>/dev/null || true
  for service in $services; do
    systemctl disable --quiet --now "hanse@$service" 2>/dev/null || true
    ! getent passwd "hanse-$service" >/dev/null || userdel "hanse-$service"
  done
  for unit in $units; do rm -f "/etc/systemd/system/$unit"; done
  rm -rf /etc/systemd/system/hanse@dns.service.d /usr/lib/sysusers.d/hanse.conf /opt/hanse /opt/hanse-*
  systemctl daemon-reload
  echo "removed; /etc/hanse has the settings and keys, and stays until you remove it"
  exit 0
fi

wheel=${1:-}
case $wheel in "" | -*) die "usage: install.sh WHEEL [--find-links DIRECTORY] [--constraint FILE], or --remove" ;; esac
shift
for argument in "$@"; do
  if [ "$argument" = --find-links ]; then set -- --no-index "$@"; fi
done
python3 -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
  die "Python 3.11 or newer with venv is needed (on Debian and Ubuntu: python3-venv)"

new=/opt/hanse-$(date -u +%Y%m%dT%H%M%SZ)
trap 'rm -rf "$new"' EXIT
python3 -m venv "$new"
"$new/bin/pip" install --quiet --disable-pip-version-check "$@" "$wheel[server]" || die "pip cannot install $wheel"
"$new/bin/pip" uninstall --quiet --yes pip
version=$("$new/bin/python" -c 'from importlib.metadata import version; print(version("hanse"))')
install -D -m 644 "$here/configure.py" "$new/libexec/configure.py"
before=$(readlink /opt/hanse || true)
ln -s "$new" /opt/.hanse
mv -T /opt/.hanse /opt/hanse
trap - EXIT
for folder in /opt/hanse-*; do # the one before stays, to go back to
  case $folder in "$new" | "$before") ;; *) rm -rf "$folder" ;; esac
done

install -D -m 644 "$here/hanse.sysusers" /usr/lib/sysusers.d/hanse.conf
systemd-sysusers /usr/lib/sysusers.d/hanse.conf
for unit in $units; do install -m 644 "$here/$unit" "/etc/systemd/system/$unit"; done
install -D -m 644 "$here/hanse@dns.conf" /etc/systemd/system/hanse@dns.service.d/port.conf
systemctl daemon-reload

install -d -m 755 /etc/hanse
if [ ! -e /etc/hanse/machine.toml ]; then
  install -m 644 "$here/machine.toml" /etc/hanse/machine.toml
  echo "Hanse $version is installed. Say in /etc/hanse/machine.toml where etcd is, then run this again."
  exit 0
fi
/opt/hanse/bin/python /opt/hanse/libexec/configure.py
systemctl enable --quiet --now hanse-configure.timer
for service in $services; do systemctl enable --quiet "hanse@$service"; done
systemctl enable --quiet hanse.target
systemctl restart hanse.target # and with it all that is part of it
echo "Hanse $version runs: export KUBECONFIG=/etc/hanse/admin/kubeconfig"
