"""The defaults that Kubernetes gives to Pod specs, wherever they stand.

Everything here fills in a spec in place. Source: the behaviour of Kubernetes' core/v1 defaulting.

Next: `hanse.kube.kinds.types.pods`.
"""

from __future__ import annotations

from hanse.kube.kinds.fields.filling import Spec, dicts, ensure, fill, fill_texts, section

FILE_MODE = 0o644
_VOLUME_DEFAULTS: dict[str, Spec] = {
    "secret": {"defaultMode": FILE_MODE},
    "configMap": {"defaultMode": FILE_MODE},
    "downwardAPI": {"defaultMode": FILE_MODE},
    "projected": {"defaultMode": FILE_MODE},
    "hostPath": {"type": ""},
    "iscsi": {"iscsiInterface": "default"},
    "rbd": {"pool": "rbd", "user": "admin", "keyring": "/etc/ceph/keyring"},
    "azureDisk": {"cachingMode": "ReadWrite", "kind": "Shared", "fsType": "ext4", "readOnly": False},
    "scaleIO": {"storageMode": "ThinProvisioned", "fsType": "xfs"},
}


def pull_policy(image: str) -> str:
    """Return the default pull policy: Always for the tag latest (also where no tag or digest is given)."""
    if "@" in image:
        return "IfNotPresent"
    _, colon, tag = image.rpartition("/")[2].partition(":")
    return "IfNotPresent" if colon and tag != "latest" else "Always"


def default_pod(pod: Spec) -> None:
    """Default a Pod: its spec, and requests from limits."""
    spec = ensure(pod, "spec")
    default_pod_spec(spec)
    for container in dicts(spec, "containers") + dicts(spec, "initContainers"):
        for port in dicts(container, "ports") if spec.get("hostNetwork") is True else ():
            if "containerPort" in port and not port.get("hostPort"):
                port["hostPort"] = port["containerPort"]
    spec.setdefault("enableServiceLinks", True)
    for container in dicts(spec, "containers") + dicts(spec, "initContainers"):
        resources = ensure(container, "resources")
        limits = section(resources, "limits")
        if limits:
            fill(ensure(resources, "requests"), limits)


def default_template(owner: Spec) -> None:
    """Default the Pod template of a workload's spec."""
    template = section(owner, "template")
    if template is not None:
        default_pod_spec(ensure(template, "spec"))


def default_pod_spec(spec: Spec) -> None:
    """Default a Pod's spec."""
    fill_texts(
        spec,
        {"dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler"},
    )
    fill(spec, {"securityContext": {}, "terminationGracePeriodSeconds": 30})
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for container in dicts(spec, field):
            _default_container(container)
    for volume in dicts(spec, "volumes"):
        default_volume(volume, pod=True)


def _default_container(container: Spec) -> None:
    fill_texts(
        container,
        {
            "imagePullPolicy": pull_policy(str(container.get("image") or "")),
            "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": "File",
        },
    )
    container.setdefault("resources", {})
    for port in dicts(container, "ports"):
        fill_texts(port, {"protocol": "TCP"})
    for variable in dicts(container, "env"):
        reference = section(section(variable, "valueFrom"), "fieldRef")
        if reference is not None:
            fill_texts(reference, {"apiVersion": "v1"})
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        _default_probe(section(container, probe))
    lifecycle = section(container, "lifecycle")
    for hook in ("postStart", "preStop"):
        _default_http_get(section(section(lifecycle, hook), "httpGet"))


def _default_probe(probe: Spec | None) -> None:
    if probe is None:
        return
    for field, value in (
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ):
        if not probe.get(field):
            probe[field] = value
    _default_http_get(section(probe, "httpGet"))
    grpc = section(probe, "grpc")
    if grpc is not None:
        grpc.setdefault("service", "")


def _default_http_get(action: Spec | None) -> None:
    if action is not None:
        action["path"] = action.get("path") or "/"
        action["scheme"] = action.get("scheme") or "HTTP"


def default_volume(volume: Spec, *, pod: bool) -> None:
    """Default a volume of a Pod, or the source of a PersistentVolume's spec (`pod` false)."""
    if pod and not any(isinstance(value, dict) for value in volume.values()):
        volume["emptyDir"] = {}
    for kind, values in _VOLUME_DEFAULTS.items():
        source = section(volume, kind)
        if source is not None:
            fill(source, values)
    _default_items(section(volume, "downwardAPI"))
    for source in dicts(section(volume, "projected"), "sources"):
        _default_items(section(source, "downwardAPI"))
        token = section(source, "serviceAccountToken")
        if token is not None:
            token.setdefault("expirationSeconds", 3600)
    claim = section(section(section(volume, "ephemeral"), "volumeClaimTemplate"), "spec")
    if claim is not None:
        claim.setdefault("volumeMode", "Filesystem")


def _default_items(source: Spec | None) -> None:
    for item in dicts(source, "items"):
        reference = section(item, "fieldRef")
        if reference is not None:
            fill_texts(reference, {"apiVersion": "v1"})
