"""What the server owns of an object is not the client's to say. Next: `known`."""

from __future__ import annotations

from hanse.kube.model.objects import Object
from tests.real.conformance.objects import config_map, of_every_kind, thing
from tests.real.conformance.sides import Side, collection

SIGNING_REQUEST = (
    "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIR01HNENBUUF3RERFS01BZ0dBMVVFQXd3QllUQlpNQk1H"
    "QnlxR1NNNDlBZ0VHQ0NxR1NNNDlBd0VIQTBJQQpCRlpsK0hTajVmV1Btak0vaFY4UWxQazgrQmRUbFg1RnNwbXp2em9DZ3JO"
    "ZVZyZmR5WTZuKzF4bkVSdmFrcXN0ClFNTFM1Y2ZIRkh5L1dPUGZjalNzdlJ1Z0FEQUtCZ2dxaGtqT1BRUURBZ05JQURCRkFp"
    "QnlLcDBTWiswbk5rNXIKQmlPeTFPdy93YTlQT2w5S0FiaVF6RHg0MTZQd09RSWhBS2lKMnU5d05pMlNvOVRYcjRGN2FXYmZL"
    "SStEc2xLcwpTN3VOR2tmbEF5K3cKLS0tLS1FTkQgQ0VSVElGSUNBVEUgUkVRVUVTVC0tLS0tCg=="
)
"""A request for a certificate, with a key that nobody has."""


FOREIGN = {
    "generation": 7,
    "selfLink": "/x",
    "creationTimestamp": "2020-01-01T00:00:00Z",
    "deletionTimestamp": "2020-01-01T00:00:00Z",
    "deletionGracePeriodSeconds": 5,
}
"""Fields of metadata that are the server's."""

_CONDITION = {"type": "Approved", "status": "True", "reason": "Client", "message": "it says so"}
_STATUS = {
    "conditions": [_CONDITION],
    "phase": "Failed",
    "replicas": 3,
    "observedGeneration": 9,
    "loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]},
    "certificate": "YQ==",
}


async def owned(side: Side) -> None:
    """What the server owns is the server's: each kind is created with all of it set, and updated likewise."""
    for name, obj in {**of_every_kind(), **signing_requests()}.items():
        metadata = {**obj["metadata"], **FOREIGN, "uid": "11111111-1111-1111-1111-111111111111"}
        claimed = {**obj, "metadata": metadata, "status": _STATUS}
        if name.startswith("PriorityClass"):
            continue
        await side.create(f"create {name}", claimed, dryRun="All", fieldValidation="Ignore")
        applied = {key: value for key, value in claimed.items() if key != "status"}
        await side.apply(f"apply {name}", applied, dryRun="All", fieldValidation="Ignore")
    for name, obj in {"ConfigMap": config_map("own", {"a": "1"}), **signing_requests()}.items():
        made = await side.create(f"made {name}", obj)
        path = f"{collection(obj, '{ns}')}/{obj['metadata']['name']}"
        fields = {"creationTimestamp": FOREIGN["creationTimestamp"], "generation": 70, "selfLink": "/x"}
        changed = {**made.body, "metadata": {**made.body["metadata"], **fields}, "status": _STATUS}
        await side.send(f"update {name}", "PUT", path, changed, fieldManager="u")
        for field in ("deletionTimestamp", "deletionGracePeriodSeconds"):
            mark = {"metadata": {field: FOREIGN[field]}}
            await side.patch(f"patch {name} {field}", path, mark, dryRun="All")
    path = "/apis/certificates.k8s.io/v1/certificatesigningrequests/owned-csr"
    spec = {"spec": {"username": "root", "groups": ["system:masters"], "extra": {"a": ["b"]}}}
    await side.patch("requester", path, spec)
    await side.patch("approved by status", f"{path}/status", {"status": {"conditions": [_CONDITION]}})
    signed = {"status": {"certificate": "YQ==", "conditions": [_CONDITION]}}
    await side.patch("approved", f"{path}/approval", signed)
    later = {**_CONDITION, "message": "changed"}
    await side.patch("approval changed by status", f"{path}/status", {"status": {"conditions": [later]}})
    await side.patch("approval removed", f"{path}/approval", {"status": {"conditions": []}})
    await side.ask("", "DELETE", path)


def signing_requests() -> dict[str, Object]:
    """Return a request for a certificate that says who asks."""
    spec = {
        "request": SIGNING_REQUEST,
        "signerName": "example.com/x",
        "usages": ["client auth"],
        "username": "root",
        "uid": "0",
        "groups": ["system:masters"],
        "extra": {"a": ["b"]},
    }
    obj = thing("certificates.k8s.io/v1", "CertificateSigningRequest", spec=spec)
    return {"CertificateSigningRequest": {**obj, "metadata": {"name": "owned-csr"}}}
