"""Types of volumes: the sources that Pods and PersistentVolumes name, and claims.

Pure. Next: `hanse.kube.kinds.types.pods`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from hanse.kube.kinds.types.checks import (
    Check,
    Given,
    absolute,
    amount,
    choice,
    descending,
    local_path,
    no_backsteps,
    nothing,
    quantity,
    struct,
    text,
    within,
)
from hanse.kube.kinds.types.containers import downward_file
from hanse.kube.kinds.types.resources import amount_errors
from hanse.kube.model.fielderrors import FieldError, forbidden, invalid, not_supported, required
from hanse.kube.model.names import label_problems, subdomain_problems
from hanse.kube.model.objects import mapping, sequence

_MODE: Final = within(0, 0o777, "must be a number between 0 and 0777 (octal), both inclusive")
_PARTITION: Final = within(0, 255, "must be between 0 and 255, inclusive")
_PULL: Final = choice("Always", "IfNotPresent", "Never")
_HOST_TYPES: Final = ("", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice",
                      "BlockDevice")  # fmt: skip
_NAME: Final = re.compile(
    r"iqn\.\d{4}-\d{2}\.([[:alnum:]-.]+)(:[^,;*&$|\s]+)$".replace("[:alnum:]", "A-Za-z0-9")
)
_EUI: Final = re.compile(r"eui.[A-Fa-f0-9]{16}$")
_NAA: Final = re.compile(r"naa.[A-Fa-f0-9]{32}$")
_KEY_TYPES: Final = ("RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519")
ACCESS_MODES: Final = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")


def driver_name(value: Any, where: str) -> Iterator[FieldError]:
    """Yield what is wrong with the name of a CSI driver."""
    if len(value) > 63:
        yield FieldError(where, "FieldValueTooLong", "may not be more than 63 bytes")
    for problem in subdomain_problems(value.lower()):
        yield invalid(where, value, problem)


def signer_name(value: Any, where: str) -> Iterator[FieldError]:
    """Yield what is wrong with the name of a signer: a domain with a path."""
    if not value:
        yield required(where)
        return
    domain, slash, path = value.partition("/")
    if not slash or "/" in path:
        yield invalid(
            where, value, "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        )
        return
    problems = (
        subdomain_problems(domain)
        if domain.count(".")
        else ["should be a domain with at least two segments separated by dots"]
    )
    problems += subdomain_problems(path)
    if len(value) > 253 + 1 + 63 + 1 + 253:
        problems.append("is too long")
    for problem in problems:
        yield invalid(where, value, problem)


def _iscsi(value: Any, where: str) -> Iterator[FieldError]:
    for field in ("iqn", "initiatorName"):
        name = value.get(field)
        if name is None or (field == "iqn" and not name):
            continue
        pattern = {"iqn": _NAME, "eui": _EUI, "naa": _NAA}.get(name[:3])
        if pattern is None:
            yield invalid(f"{where}.{field}", name, "must be valid format starting with iqn, eui, or naa")
        elif not pattern.match(name):
            yield invalid(f"{where}.{field}", name, "must be valid format")
    checked = value.get("chapAuthDiscovery") or value.get("chapAuthSession")
    if checked and value.get("secretRef") is None:
        yield required(f"{where}.secretRef")


def _flocker(value: Any, where: str) -> Iterator[FieldError]:
    name = value.get("datasetName") or ""
    if not name and not value.get("datasetUUID"):
        yield required(where, "one of datasetName and datasetUUID is required")
    if name and value.get("datasetUUID"):
        message = "datasetName and datasetUUID can not be specified simultaneously"
        yield invalid(where, "resource", message)
    if "/" in name:
        yield invalid(f"{where}.datasetName", name, "must not contain '/'")


def _fibre(value: Any, where: str) -> Iterator[FieldError]:
    names, ids = value.get("targetWWNs"), value.get("wwids")
    if not names and not ids:
        message = "must specify either targetWWNs or wwids, but not both"
        yield required(f"{where}.targetWWNs", message)
    if names and ids:
        message = "targetWWNs and wwids can not be specified simultaneously"
        yield invalid(f"{where}.targetWWNs", names, message)
    if names:
        if value.get("lun") is None:
            yield required(f"{where}.lun", "lun is required if targetWWNs is specified")
        else:
            yield from _PARTITION(value["lun"], f"{where}.lun")


def _quobyte(value: Any, where: str) -> Iterator[FieldError]:
    message = "must be a host:port pair or multiple pairs separated by commas"
    registry = value.get("registry") or ""
    if not registry:
        yield required(f"{where}.registry", message)
    elif len(value.get("tenant") or "") >= 65:
        yield required(f"{where}.tenant", "must be a UUID and may not exceed a length of 64 characters")
    else:
        for pair in registry.split(","):
            host, colon, _ = pair.rpartition(":")
            if not colon or (":" in host and not host.startswith("[")):
                yield invalid(f"{where}.registry", registry, message)


def _flex(value: Any, where: str) -> Iterator[FieldError]:
    for key in mapping(value, "options"):
        if f".{key.partition('/')[0].lower()}".endswith((".kubernetes.io", ".k8s.io")):
            message = "kubernetes.io and k8s.io namespaces are reserved"
            yield invalid(f"{where}.options[{key}]", key, message)


def _azure_disk(value: Any, where: str) -> Iterator[FieldError]:
    kind, uri = value.get("kind"), value.get("diskURI") or ""
    if kind == "Managed" and not uri.startswith("/subscriptions/"):
        yield not_supported(f"{where}.diskURI", uri, ("/subscriptions/{sub-id}/...",))
    if kind not in (None, "Managed") and not uri.startswith("https://"):
        yield not_supported(f"{where}.diskURI", uri, ("https://{account-name}.blob.core.windows.net/...",))


def _named_secret(value: Any, where: str) -> Iterator[FieldError]:
    if value.get("secretRef") is not None and not mapping(value, "secretRef").get("name"):
        yield required(f"{where}.secretRef.name")


def _publish_secret(value: Any, where: str) -> Iterator[FieldError]:
    if value.get("nodePublishSecretRef") is not None:
        name = mapping(value, "nodePublishSecretRef").get("name")
        if not name:
            yield required(f"{where}.nodePublishSecretRef.name")
        for problem in subdomain_problems(name) if name else ():
            yield invalid(f"{where}.name", name, problem)


def _downward_file(value: Any, where: str) -> Iterator[FieldError]:
    yield from downward_file(value, where)


def _bundle(value: Any, where: str) -> Iterator[FieldError]:
    name, signer = value.get("name"), value.get("signerName")
    if name is not None and signer is not None:
        yield invalid(where, value, "only one of name and signerName may be used")
    elif name is not None:
        if not name:
            yield required(f"{where}.name", "must be a valid object name")
        owner, colon, rest = name.rpartition(":")
        for problem in subdomain_problems(rest) if name else ():
            yield invalid(f"{where}.name", name, f"not a valid clustertrustbundlename: {problem}")
        if colon and not owner:
            yield invalid(f"{where}.name", name, "not a valid clustertrustbundlename: no signer name")
        if value.get("labelSelector") is not None:
            yield invalid(f"{where}.labelSelector", None, "labelSelector must be unset if name is specified")
    elif signer is not None:
        yield from signer_name(signer, f"{where}.signerName")
    else:
        yield required(where, "either name or signerName must be specified")


def _certificate(value: Any, where: str) -> Iterator[FieldError]:
    bundle = value.get("credentialBundlePath")
    chain, key = value.get("certificateChainPath"), value.get("keyPath")
    if not (bundle or chain or key):
        message = "specify at least one of credentialBundlePath, keyPath, and certificateChainPath"
        yield required(where, message)
    yield from signer_name(value.get("signerName") or "", f"{where}.signerName")


_SOURCES: Final = ("clusterTrustBundle", "configMap", "downwardAPI", "podCertificate", "secret",
                   "serviceAccountToken")  # fmt: skip


def _projection(value: Any, where: str) -> Iterator[FieldError]:
    given = [name for name in _SOURCES if value.get(name) is not None]
    if len(given) > 1:
        yield forbidden(where, "may not specify more than 1 volume type")


def _paths(value: Any, where: str) -> Iterator[FieldError]:
    """Yield the paths that two sources of a projected volume write."""
    seen: set[str] = set()
    for source in sequence(value, "sources"):
        found = [
            item.get("path")
            for name in ("secret", "configMap", "downwardAPI")
            for item in sequence(source, name, "items")
        ]
        found.append(mapping(source, "clusterTrustBundle").get("path"))
        found += [
            mapping(source, "podCertificate").get(name)
            for name in ("credentialBundlePath", "keyPath", "certificateChainPath")
        ]
        for path in filter(None, found):
            if path in seen:
                yield invalid(where, path, "conflicting duplicate paths")
            seen.add(path)


def _claim(value: Any, where: str) -> Iterator[FieldError]:
    modes = value.get("accessModes") or []
    if not modes:
        yield required(f"{where}.accessModes", "at least 1 access mode is required")
    yield from _access_modes(modes, f"{where}.accessModes")
    asked = mapping(value, "resources", "requests").get("storage")
    at = f"{where}.resources[storage]"
    if asked is None:
        yield required(at)
    elif (amount(asked) or 0) <= 0:
        yield invalid(at, str(asked), "must be greater than zero")
    else:
        yield from amount_errors("storage", asked, at)
    source, reference = value.get("dataSource"), value.get("dataSourceRef")
    if source and reference:
        if mapping(reference).get("namespace"):
            message = "may not be specified when dataSourceRef.namespace is specified"
            yield invalid(where, f"{where}.dataSource", message)
        elif source.get("kind") in ("PersistentVolumeClaim", "VolumeSnapshot") and any(
            (source.get(f) or "") != (reference.get(f) or "") for f in ("apiGroup", "kind", "name")
        ):
            yield invalid(where, f"{where}.dataSource", "must match dataSourceRef")


def _access_modes(modes: Any, where: str) -> Iterator[FieldError]:
    for mode in modes:
        if mode not in ACCESS_MODES:
            yield not_supported(where, mode, ACCESS_MODES)
    if "ReadWriteOncePod" in modes and set(modes) & set(ACCESS_MODES[:3]):
        yield forbidden(where, "may not use ReadWriteOncePod with other access modes")


def _data_source(value: Any, where: str) -> Iterator[FieldError]:
    if not value.get("apiGroup") and value.get("kind") != "PersistentVolumeClaim":
        message = "must be 'PersistentVolumeClaim' when referencing the default apiGroup"
        yield invalid(where, value.get("kind"), message)


PERSISTENT_SOURCES: Final = (
    "awsElasticBlockStore", "azureDisk", "azureFile", "cephfs", "cinder", "csi", "fc", "flexVolume",
    "flocker", "gcePersistentDisk", "glusterfs", "hostPath", "iscsi", "local", "nfs",
    "photonPersistentDisk", "portworxVolume", "quobyte", "rbd", "scaleIO", "storageos", "vsphereVolume",
)  # fmt: skip


def _persistent(value: Any, where: str) -> Iterator[FieldError]:
    if not value.get("accessModes"):
        yield required(f"{where}.accessModes")
    yield from _access_modes(value.get("accessModes") or [], f"{where}.accessModes")
    capacity = mapping(value, "capacity")
    at = f"{where}.capacity"
    if not capacity:
        yield required(at)
    if list(capacity) != ["storage"]:
        yield not_supported(at, capacity, ("storage",))
    for name, said in capacity.items():
        if (amount(said) or 0) <= 0:
            yield invalid(f"{at}[{name}]", str(said), "must be greater than zero")
    given = [name for name in PERSISTENT_SOURCES if value.get(name) is not None]
    for extra in [name for name in given if name != "flexVolume"][1:]:
        yield forbidden(f"{where}.{extra}", "may not specify more than 1 volume type")
    if not given:
        yield required(where, "must specify a volume type")
    if value.get("local") is not None and not mapping(value, "nodeAffinity").get("required"):
        yield required(f"{where}.nodeAffinity", "Local volume requires node affinity")
    host = mapping(value, "hostPath").get("path")
    if host and not host.strip("/") and value.get("persistentVolumeReclaimPolicy") == "Recycle":
        message = "may not be 'recycle' for a hostPath mount of '/'"
        yield forbidden(f"{where}.persistentVolumeReclaimPolicy", message)
    attributes = value.get("volumeAttributesClassName")
    if attributes is not None:
        if not attributes:
            yield required(f"{where}.volumeAttributesClassName", "an empty string is disallowed")
        if value.get("csi") is None:
            yield required(f"{where}.csi", "has to be specified when using volumeAttributesClassName")


def _reference(value: Any, where: str) -> Iterator[FieldError]:
    """Check the source of a claim; one in another namespace is dropped where that is not enabled."""
    if not value.get("namespace"):
        yield from _DATA_SOURCE(value, where)


def _csi_secrets(value: Any, where: str) -> Iterator[FieldError]:
    for field in _CSI_SECRETS:
        if value.get(field) is not None:
            yield from _SECRET(value[field], f"{where}.{field}")


_CSI_SECRETS: Final = ("controllerExpandSecretRef", "controllerPublishSecretRef", "nodeExpandSecretRef",
                       "nodePublishSecretRef")  # fmt: skip
_SECRET: Final = struct(needs="name namespace", name=text(subdomain_problems), namespace=text(label_problems))
_ISCSI: Final = struct(_iscsi, needs="targetPortal iqn", lun=_PARTITION)
_ATTACHED: Final = struct(needs="pdName", partition=_PARTITION)
_DATA_SOURCE: Final = struct(_data_source, needs="name kind", apiGroup=text(subdomain_problems))
_GLUSTER: Final = struct(needs="endpoints path")
_RBD: Final = struct(needs="monitors image")
_FLEX: Final = struct(_flex, needs="driver")
_SCALE: Final = struct(needs="gateway system volumeName")

TYPES: Final[dict[str, Check]] = {
    "core.v1.AWSElasticBlockStoreVolumeSource": struct(needs="volumeID", partition=_PARTITION),
    "core.v1.AzureDiskVolumeSource": struct(
        _azure_disk,
        needs="diskName diskURI",
        cachingMode=Given(choice("None", "ReadOnly", "ReadWrite")),
        kind=Given(choice("Dedicated", "Managed", "Shared")),
    ),
    "core.v1.AzureFilePersistentVolumeSource": struct(needs="secretName shareName"),
    "core.v1.AzureFileVolumeSource": struct(needs="secretName shareName"),
    "core.v1.CSIPersistentVolumeSource": struct(
        _csi_secrets, needs="driver volumeHandle", driver=driver_name
    ),
    "core.v1.CSIVolumeSource": struct(_publish_secret, needs="driver", driver=driver_name),
    "core.v1.CephFSPersistentVolumeSource": struct(needs="monitors"),
    "core.v1.CephFSVolumeSource": struct(needs="monitors"),
    "core.v1.CinderPersistentVolumeSource": struct(needs="volumeID"),
    "core.v1.CinderVolumeSource": struct(_named_secret, needs="volumeID"),
    "core.v1.ClusterTrustBundleProjection": struct(_bundle, needs="path", path=local_path),
    "core.v1.ConfigMapProjection": struct(needs="name"),
    "core.v1.ConfigMapVolumeSource": struct(needs="name", defaultMode=_MODE),
    "core.v1.DownwardAPIVolumeFile": struct(_downward_file, needs="path", path=local_path, mode=_MODE),
    "core.v1.DownwardAPIVolumeSource": struct(defaultMode=_MODE),
    "core.v1.EmptyDirVolumeSource": struct(sizeLimit=quantity(0, "must be a valid resource quantity")),
    "core.v1.EphemeralVolumeSource": struct(needs="volumeClaimTemplate"),
    "core.v1.FCVolumeSource": struct(_fibre),
    "core.v1.FlexPersistentVolumeSource": _FLEX,
    "core.v1.FlexVolumeSource": _FLEX,
    "core.v1.FlockerVolumeSource": struct(_flocker),
    "core.v1.GCEPersistentDiskVolumeSource": _ATTACHED,
    "core.v1.GitRepoVolumeSource": struct(needs="repository", directory=descending),
    "core.v1.GlusterfsPersistentVolumeSource": _GLUSTER,
    "core.v1.GlusterfsVolumeSource": _GLUSTER,
    "core.v1.HostPathVolumeSource": struct(needs="path", path=no_backsteps, type=Given(choice(*_HOST_TYPES))),
    "core.v1.ISCSIPersistentVolumeSource": _ISCSI,
    "core.v1.ISCSIVolumeSource": _ISCSI,
    "core.v1.ImageVolumeSource": struct(needs="reference", pullPolicy=_PULL),
    "core.v1.KeyToPath": struct(needs="key path", path=local_path, mode=_MODE),
    "core.v1.LocalVolumeSource": struct(needs="path", path=no_backsteps),
    "core.v1.NFSVolumeSource": struct(needs="server path", path=absolute),
    "core.v1.PersistentVolumeClaimSpec": struct(
        _claim,
        storageClassName=text(subdomain_problems),
        volumeAttributesClassName=text(subdomain_problems),
        volumeMode=Given(choice("Block", "Filesystem")),
    ),
    "core.v1.PersistentVolumeClaimStatus": nothing,
    "core.v1.PersistentVolumeClaimVolumeSource": struct(needs="claimName"),
    "core.v1.PersistentVolumeSpec": struct(
        _persistent,
        persistentVolumeReclaimPolicy=choice("Delete", "Recycle", "Retain"),
        storageClassName=text(subdomain_problems),
        volumeAttributesClassName=text(subdomain_problems),
        volumeMode=Given(choice("Block", "Filesystem")),
    ),
    "core.v1.PhotonPersistentDiskVolumeSource": struct(needs="pdID"),
    "core.v1.PodCertificateProjection": struct(
        _certificate,
        keyType=Given(choice(*_KEY_TYPES)),
        credentialBundlePath=local_path,
        keyPath=local_path,
        certificateChainPath=local_path,
        maxExpirationSeconds=Given(within(3600, 7862400)),
    ),
    "core.v1.PortworxVolumeSource": struct(needs="volumeID"),
    "core.v1.ProjectedVolumeSource": struct(_paths, defaultMode=_MODE),
    "core.v1.QuobyteVolumeSource": struct(_quobyte, needs="volume"),
    "core.v1.RBDPersistentVolumeSource": _RBD,
    "core.v1.RBDVolumeSource": _RBD,
    "core.v1.ScaleIOPersistentVolumeSource": _SCALE,
    "core.v1.ScaleIOVolumeSource": _SCALE,
    "core.v1.SecretProjection": struct(needs="name"),
    "core.v1.SecretVolumeSource": struct(needs="secretName", defaultMode=_MODE),
    "core.v1.ServiceAccountTokenProjection": struct(
        needs="path", path=local_path, expirationSeconds=Given(within(600, 2**32))
    ),
    "core.v1.StorageOSPersistentVolumeSource": struct(
        needs="volumeName", volumeName=text(label_problems), volumeNamespace=text(label_problems)
    ),
    "core.v1.StorageOSVolumeSource": struct(
        _named_secret,
        needs="volumeName", volumeName=text(label_problems), volumeNamespace=text(label_problems),
    ),
    "core.v1.TypedLocalObjectReference": nothing,
    "core.v1.TypedObjectReference": _reference,
    "core.v1.VolumeProjection": struct(_projection),
    "core.v1.VsphereVirtualDiskVolumeSource": struct(needs="volumePath"),
}  # fmt: skip
"""The checks of these types, by their short names."""
