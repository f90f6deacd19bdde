"""What `kubectl kustomize` makes of deploy/k8s, for the tests.

Owns `build`, and how a Pod's environment and files are read out of the manifests. Pure, but for kubectl.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.generated import K8S

LOADER = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
Manifest = dict[str, Any]
OVERLAYS = tuple(sorted(path.name for path in (K8S / "overlays").iterdir()))
COMPONENTS = tuple(sorted(path.name for path in (K8S / "components").iterdir()))
SERVICES = ("apiserver", "registry", "scheduler", "syncer", "dns")
WORKLOADS = ("Deployment", "StatefulSet", "Job", "CronJob")
COMPONENT = "app.kubernetes.io/component"
needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")


@functools.cache
def _kustomize(path: str) -> str:
    result = subprocess.run(
        ["kubectl", "kustomize", path], capture_output=True, text=True, timeout=60, check=False
    )
    if result.returncode or result.stderr.strip():
        raise AssertionError(f"kubectl kustomize {path}: {result.stderr}")
    return result.stdout


@functools.cache
def rendered(overlay: str, *components: str) -> str:
    """The YAML of an overlay, with optional components added as a user would."""
    if not components:
        return _kustomize(str(K8S / "overlays" / overlay))
    with tempfile.TemporaryDirectory() as folder:
        relative = functools.partial(os.path.relpath, start=Path(folder).resolve())
        Path(folder, "kustomization.yaml").write_text(
            yaml.safe_dump(
                {
                    "resources": [relative(K8S / "overlays" / overlay)],
                    "components": [relative(K8S / "components" / each) for each in components],
                }
            )
        )
        return _kustomize(folder)


def build(overlay: str, *components: str) -> list[Manifest]:
    """The manifests of an overlay."""
    manifests: list[Manifest] = json.loads(_parsed(overlay, *components))  # a copy, which a test may change
    return manifests


@functools.cache
def _parsed(overlay: str, *components: str) -> str:
    return json.dumps([each for each in yaml.load_all(rendered(overlay, *components), LOADER) if each])


def of_kind(manifests: Sequence[Manifest], *kinds: str) -> Iterator[Manifest]:
    """Those of some kinds."""
    return (each for each in manifests if each["kind"] in kinds)


def named(manifests: Sequence[Manifest], kind: str, name: str) -> Manifest:
    """The one of a kind with a name."""
    (found,) = (each for each in of_kind(manifests, kind) if each["metadata"]["name"] == name)
    return found


def pod(workload: Manifest) -> Manifest:
    """The template of a workload's Pods."""
    spec = workload["spec"]["jobTemplate"]["spec"] if workload["kind"] == "CronJob" else workload["spec"]
    template: Manifest = spec["template"]
    return template


def container(workload: Manifest) -> Manifest:
    """The one container of a workload."""
    (only,) = pod(workload)["spec"]["containers"]
    found: Manifest = only
    return found


def environment(manifests: Sequence[Manifest], workload: Manifest) -> dict[str, str]:
    """The environment of a workload's container, as the kubelet makes it from ConfigMaps."""
    found: dict[str, str] = {}
    for source in container(workload).get("envFrom", ()):
        found |= named(manifests, "ConfigMap", source["configMapRef"]["name"])["data"]
    for each in container(workload).get("env", ()):
        if "value" in each:
            found[each["name"]] = each["value"]
        elif "configMapKeyRef" in each["valueFrom"]:
            reference = each["valueFrom"]["configMapKeyRef"]
            found[each["name"]] = named(manifests, "ConfigMap", reference["name"])["data"][reference["key"]]
    return found


def mounts(workload: Manifest) -> dict[str, Manifest]:
    """Where what is mounted: path to volume."""
    volumes = {each["name"]: each for each in pod(workload)["spec"].get("volumes", ())}
    volumes |= {
        each["metadata"]["name"]: {"claim": each} for each in workload["spec"].get("volumeClaimTemplates", ())
    }
    return {each["mountPath"]: volumes[each["name"]] for each in container(workload)["volumeMounts"]}


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector has these labels."""
    equal = all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
    among = all(
        each["operator"] == "In" and labels.get(each["key"]) in each["values"]
        for each in selector.get("matchExpressions", ())
    )
    return equal and among
