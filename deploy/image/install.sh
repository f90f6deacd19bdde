#!/bin/sh
# Two steps of deploy/Dockerfile, which runs it in /src. Wheels are installed into /out/dependencies and
# /out/application as if each were the root; /opt/build has what builds, and is left behind.
set -eu

export PIP_CACHE_DIR=/root/.cache/pip PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_WARN_SCRIPT_LOCATION=1 PIP_QUIET=1 \
  PIP_ROOT_USER_ACTION=ignore

# The wheels of the lock file $1, each with a hash that is in it.
pip_fetch() {
  /opt/build/bin/python -m pip download --only-binary :all: --no-deps --require-hashes --requirement "$1" \
    --dest /opt/wheels
}

# What standard input names, of the wheels that were fetched, with the Python $1, below $2 if given.
pip_install() {
  /opt/build/bin/python -m pip --python "$1" install --no-compile --no-index --find-links /opt/wheels \
    ${2:+--root "$2"} --requirement /dev/stdin
}

case $1 in
  dependencies)
    if [ -f /run/secrets/pip_ca ]; then export PIP_CERT=/run/secrets/pip_ca; fi
    if [ -f /run/secrets/pip_conf ]; then export PIP_CONFIG_FILE=/run/secrets/pip_conf; fi
    python3 -m venv /opt/build
    python3 -m venv --without-pip /opt/hanse
    pip_fetch requirements-build.lock
    pip_fetch requirements.lock
    printf 'hatchling\ncyclonedx-python-lib\n' | pip_install /opt/build/bin/python
    # The dependencies of the services: without the extra `local`, so without an etcd.
    /opt/build/bin/python -c 'import tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
print(*project["dependencies"], *project["optional-dependencies"]["server"], sep="\n")' |
      pip_install /opt/hanse/bin/python /out/dependencies
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
