"""What Kubernetes' API server fills in on create beyond defaults, for the kinds that are simulated.

A Job gets the selector that finds its own Pods, a Pod the default ServiceAccount, a claim the default
StorageClass. Pure but for being called. Next: `hanse_simulator.network.services` for what Services are given.
"""

from __future__ import annotations

from hanse.kube.engine.hooks import AdmissionRequest
from hanse.kube.model.objects import Object, labels_of, mapping, name_of
from hanse_simulator.world import CLAIMS, JOBS, PODS

CONTROLLER_UID = "batch.kubernetes.io/controller-uid"
JOB_NAME = "batch.kubernetes.io/job-name"
STORAGE_CLASS = "standard"


class WorkloadAdmission:
    """Completes new Jobs, Pods and claims."""

    async def admit(self, request: AdmissionRequest) -> Object:
        """Return the object completed; anything but a create is left alone."""
        if request.operation != "CREATE" or request.subresource:
            return request.object
        match (request.info.group, request.info.plural):
            case resource if resource == JOBS:
                return _job(request.object)
            case resource if resource == PODS:
                return _pod(request.object)
            case resource if resource == CLAIMS:
                if "storageClassName" in mapping(request.object, "spec"):
                    return request.object
                return _with_spec(request.object, "storageClassName", STORAGE_CLASS)
        return request.object


def _with_spec(obj: Object, field: str, value: str) -> Object:
    spec = mapping(obj, "spec")
    return obj if spec.get(field) else {**obj, "spec": {**spec, field: value}}


def _pod(pod: Object) -> Object:
    account = mapping(pod, "spec").get("serviceAccountName") or "default"
    named = _with_spec(pod, "serviceAccountName", account)
    return _with_spec(named, "serviceAccount", account)  # the old name of the same field


def _job(job: Object) -> Object:
    spec = mapping(job, "spec")
    if spec.get("manualSelector"):
        return job
    uid = str(job["metadata"]["uid"])
    own = {CONTROLLER_UID: uid, JOB_NAME: name_of(job), "controller-uid": uid, "job-name": name_of(job)}
    template = mapping(spec, "template")
    metadata = {**mapping(template, "metadata"), "labels": {**labels_of(template), **own}}
    return {
        **job,
        "spec": {
            **spec,
            "selector": {"matchLabels": {CONTROLLER_UID: uid}},
            "template": {**template, "metadata": metadata},
        },
    }
