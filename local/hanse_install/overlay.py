"""The overlay that init generates on top of one of deploy/k8s: the flags as patches.

Owns what each flag changes in the manifests. No flags give the overlay as it is, byte for byte.

Pure functions, but for the copy of deploy/k8s that `render` makes for kubectl. The endpoints of an external
etcd
go into the file of that component, as a person would write them: components come after generators.

Next: `hanse_install.stages`, in which order it is applied.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hanse.documents import to_yaml, yaml_documents
from hanse_install.kubectl import kustomize
from hanse_install.options import NAMESPACE, OVERLAYS, ZONE, InitOptions, settings

WORKLOADS = "Deployment|StatefulSet|Job"
_SOURCE = Path(__file__).resolve().parents[2] / "deploy" / "k8s"
_PACKAGED = Path(__file__).resolve().parent / "k8s"
Patch = dict[str, Any]


def manifests_directory() -> Path:
    """deploy/k8s: as in the wheel, else in the source tree."""
    return _PACKAGED if _PACKAGED.is_dir() else _SOURCE


def kustomization(options: InitOptions) -> dict[str, Any]:
    """Return the kustomization, to be put into a directory beside the overlays."""
    found: dict[str, Any] = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [f"../{options.overlay or OVERLAYS[0]}"],
    }
    if options.namespace not in {None, NAMESPACE}:
        found["namespace"] = options.namespace
    if options.endpoints:
        found["components"] = ["../../components/external-etcd"]
    literals = _literals(options)
    if literals:
        found["configMapGenerator"] = [
            {
                "name": name,
                "namespace": NAMESPACE,
                "behavior": "merge",
                "literals": [f"{key}={value}" for key, value in values.items()],
            }
            for name, values in literals.items()
        ]
    patches = list(_patches(options))
    if patches:
        found["patches"] = patches
    return found


def _literals(options: InitOptions) -> dict[str, dict[str, str]]:
    """Return what the ConfigMaps get, by their names."""
    found: dict[str, dict[str, str]] = {}
    if options.federation != NAMESPACE:
        found.setdefault("hanse-federation", {})["name"] = options.federation
    if options.dns_zone_name not in {None, ZONE}:
        found.setdefault("hanse-federation", {})["dnsSuffix"] = str(options.dns_zone_name)
    advertised = _advertised(options)
    if advertised:
        found.setdefault("hanse-apiserver", {})["HANSE_APISERVER_ADVERTISE_ADDRESS"] = advertised
    for service, setting, value in settings(options):
        found.setdefault(f"hanse-{service}", {})[f"HANSE_{service.upper()}_{setting.upper()}"] = value
    return found


def _advertised(options: InitOptions) -> str:
    """Return what the apiserver tells clients of its address; empty is as in the base."""
    host, port = options.address
    port = port or options.api_server_port or (443 if options.api_server_service_type != "NodePort" else None)
    if host and port:
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return f"hanse-api.{options.namespace}.svc:443" if options.namespace not in {None, NAMESPACE} else ""


def _patch(kind: str, *operations: Mapping[str, Any], name: str = "") -> Patch:
    target = {"kind": kind, "name": name} if name else {"kind": kind}
    return {"target": target, "patch": to_yaml([dict(each) for each in operations])}


def _set(path: str, value: Any) -> dict[str, Any]:
    """Return a JSON patch that sets a field whether it is there or not."""
    return {"op": "add", "path": path, "value": value}


def _patches(options: InitOptions) -> Iterator[Patch]:
    container = "/spec/template/spec/containers/0"
    if options.image:
        yield _patch("Deployment|Job", _set(f"{container}/image", options.image))
    if options.etcd_image:
        yield _patch("StatefulSet", _set(f"{container}/image", options.etcd_image), name="hanse-etcd")
    if options.image_pull_policy:
        yield _patch(WORKLOADS, _set(f"{container}/imagePullPolicy", options.image_pull_policy))
    if options.image_pull_secrets:
        yield _patch("ServiceAccount", _set("/imagePullSecrets", [{"name": options.image_pull_secrets}]))
    if options.selector:
        yield _patch(WORKLOADS, _set("/spec/template/spec/nodeSelector", options.selector))
    if options.api_server_service_type:
        yield _patch("Service", _set("/spec/type", options.api_server_service_type), name="hanse-api")
    if options.api_server_port:
        yield _patch("Service", _set("/spec/ports/0/nodePort", options.api_server_port), name="hanse-api")
    ports = sorted({int(each.rpartition(":")[2]) for each in options.endpoints})
    if ports not in ([], [2379]):
        allowed = _set("/spec/egress/0/ports", [{"port": port, "protocol": "TCP"} for port in ports])
        yield _patch("NetworkPolicy", allowed, name="hanse-external-etcd")
    yield from _storage(options)


def _storage(options: InitOptions) -> Iterator[Patch]:
    claim = "/spec/volumeClaimTemplates/0/spec"
    if options.etcd_pv_capacity:
        capacity = _set(f"{claim}/resources/requests/storage", options.etcd_pv_capacity)
        yield _patch("StatefulSet", capacity, name="hanse-etcd")
    if options.etcd_pv_storage_class:
        storage = _set(f"{claim}/storageClassName", options.etcd_pv_storage_class)
        yield _patch("StatefulSet", storage, name="hanse-etcd")
    if options.etcd_persistent_storage is False:
        yield _patch(
            "StatefulSet",
            {"op": "remove", "path": "/spec/volumeClaimTemplates"},
            _set("/spec/template/spec/volumes/-", {"name": "data", "emptyDir": {}}),
            name="hanse-etcd",
        )


def render(options: InitOptions) -> str:
    """Return the manifests as YAML, by `kubectl kustomize`. Raises HanseError."""
    with tempfile.TemporaryDirectory(prefix="kubefed-") as folder:
        root = Path(folder, "k8s")
        shutil.copytree(manifests_directory(), root)
        if options.endpoints:
            endpoints = root / "components" / "external-etcd" / "endpoints.env"
            endpoints.write_text(f"etcdEndpoints={','.join(options.endpoints)}\n")
        generated = root / "overlays" / "generated"
        generated.mkdir()
        (generated / "kustomization.yaml").write_text(to_yaml(kustomization(options)))
        return kustomize(generated)


def parsed(text: str) -> list[dict[str, Any]]:
    """Return the manifests in a YAML text."""
    return [each for each in yaml_documents(text, what="what kubectl rendered") if each]
