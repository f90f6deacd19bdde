#!/bin/sh
# Two steps of deploy/Dockerfile, which runs it in /src. Wheels are installed into /out/dependencies and
# /out/application as if each were the root; /opt/build has what builds, and is left behind.
set -eu

export PIP_CACHE_DIR=/root/.cache/pip PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_WARN_SCRIPT_LOCATION=1 PIP_QUIET=1 \
  PIP_ROOT_USER_ACTION=ignore

# What standard input names, as wheels of the versions in the lock file $2, with the Python $1, below $3 if given.
pip_install() {
  /opt/build/bin/python -m pip --python "$1" install --no-compile --only-binary :all: --constraint "$2" \
    ${3:+--root "$3"} --requirement /dev/stdin
}

case $1 in
  dependencies)
    if [ -f /run/secrets/pip_ca ]; then export PIP_CERT=/run/secrets/pip_ca; fi
    if [ -f /run/secrets/pip_conf ]; then export PIP_CONFIG_FILE=/run/secrets/pip_conf; fi
    python3 -m venv /opt/build
    python3 -m venv --without-pip /opt/hanse
    printf 'hatchling\ncyclonedx-python-lib\n' | pip_install /opt/build/bin/python requirements-dev.lock
    # The dependencies of the services: without the extra `local`, so without an etcd.
    /opt/build/bin/python -c 'import tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
print(*project["dependencies"], *project["optional-dependencies"]["server"], sep="\n")' |
      pip_install /opt/hanse/bin/python requirements.lock /out/dependencies
    rm -f /opt/hanse/bin/*ctivate*
    cp -a /opt/hanse/. /out/dependencies/opt/hanse/
    ;;
  application)
    /opt/build/bin/python -m hatchling build --target wheel --directory /opt/wheel
    /opt/build/bin/python -m pip --python /opt/hanse/bin/python install --no-compile --no-deps --no-index \
      --root /out/application /opt/wheel/*.whl
    install -D -m 644 README.md LICENSE -t /out/application/usr/share/doc/hanse
    ;;
  *)
    echo "usage: install.sh dependencies|application" >&2
    exit 2
    ;;
esac
