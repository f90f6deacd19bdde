"""Kubernetes' own resources as a current kube-apiserver serves them: one line each.

A line is `Kind plural scope [short,names] [+category] [/subresource] [!verb,verb]` under its `group/version`.
The singular is the kind in lower case. Scope is `ns` or `cluster`. `!` lists the verbs where they are not
all eight. The order of groups is the order of discovery, which decides what a short name such as `events`
means to kubectl. What is left out, and why, is in tests/real/test_discovery.py. Pure data; parsed once by
`builtin()`. Next: `hanse.kube.kinds.catalogue`.
"""

from __future__ import annotations

from dataclasses import replace

from hanse.kube.model.resource_info import ResourceInfo

_TABLE = """
v1
  Binding bindings ns !create
  ConfigMap configmaps ns cm
  Endpoints endpoints ns ep
  Event events ns ev
  LimitRange limitranges ns limits
  Namespace namespaces cluster ns /status /finalize !create,delete,get,list,patch,update,watch
  Node nodes cluster no /status /proxy
  PersistentVolumeClaim persistentvolumeclaims ns pvc /status
  PersistentVolume persistentvolumes cluster pv /status
  Pod pods ns po +all /status /log /binding /eviction /ephemeralcontainers /resize
  PodTemplate podtemplates ns
  ReplicationController replicationcontrollers ns rc +all /status /scale
  ResourceQuota resourcequotas ns quota /status
  Secret secrets ns
  ServiceAccount serviceaccounts ns sa /token
  Service services ns svc +all /status
apiregistration.k8s.io/v1
  APIService apiservices cluster +api-extensions /status
apps/v1
  ControllerRevision controllerrevisions ns
  DaemonSet daemonsets ns ds +all /status
  Deployment deployments ns deploy +all /status /scale
  ReplicaSet replicasets ns rs +all /status /scale
  StatefulSet statefulsets ns sts +all /status /scale
events.k8s.io/v1
  Event events ns ev
authentication.k8s.io/v1
  SelfSubjectReview selfsubjectreviews cluster !create
  TokenReview tokenreviews cluster !create
authorization.k8s.io/v1
  LocalSubjectAccessReview localsubjectaccessreviews ns !create
  SelfSubjectAccessReview selfsubjectaccessreviews cluster !create
  SelfSubjectRulesReview selfsubjectrulesreviews cluster !create
  SubjectAccessReview subjectaccessreviews cluster !create
autoscaling/v2
  HorizontalPodAutoscaler horizontalpodautoscalers ns hpa +all /status
autoscaling/v1
  HorizontalPodAutoscaler horizontalpodautoscalers ns hpa +all /status
batch/v1
  CronJob cronjobs ns cj +all /status
  Job jobs ns +all /status
certificates.k8s.io/v1
  CertificateSigningRequest certificatesigningrequests cluster csr /status /approval
  ClusterTrustBundle clustertrustbundles cluster
  PodCertificateRequest podcertificaterequests ns /status
networking.k8s.io/v1
  IngressClass ingressclasses cluster
  Ingress ingresses ns ing /status
  IPAddress ipaddresses cluster ip
  NetworkPolicy networkpolicies ns netpol
  ServiceCIDR servicecidrs cluster /status
policy/v1
  PodDisruptionBudget poddisruptionbudgets ns pdb /status
rbac.authorization.k8s.io/v1
  ClusterRoleBinding clusterrolebindings cluster
  ClusterRole clusterroles cluster
  RoleBinding rolebindings ns
  Role roles ns
storage.k8s.io/v1
  CSIDriver csidrivers cluster
  CSINode csinodes cluster /status
  CSIStorageCapacity csistoragecapacities ns
  StorageClass storageclasses cluster sc
  VolumeAttachment volumeattachments cluster /status
  VolumeAttributesClass volumeattributesclasses cluster vac
admissionregistration.k8s.io/v1
  MutatingAdmissionPolicy mutatingadmissionpolicies cluster +api-extensions
  MutatingAdmissionPolicyBinding mutatingadmissionpolicybindings cluster +api-extensions
  MutatingWebhookConfiguration mutatingwebhookconfigurations cluster +api-extensions
  ValidatingAdmissionPolicy validatingadmissionpolicies cluster +api-extensions /status
  ValidatingAdmissionPolicyBinding validatingadmissionpolicybindings cluster +api-extensions
  ValidatingWebhookConfiguration validatingwebhookconfigurations cluster +api-extensions
apiextensions.k8s.io/v1
  CustomResourceDefinition customresourcedefinitions cluster crd,crds +api-extensions /status
scheduling.k8s.io/v1
  PriorityClass priorityclasses cluster pc
coordination.k8s.io/v1
  Lease leases ns
node.k8s.io/v1
  RuntimeClass runtimeclasses cluster
discovery.k8s.io/v1
  EndpointSlice endpointslices ns
resource.k8s.io/v1
  DeviceClass deviceclasses cluster
  DeviceTaintRule devicetaintrules cluster /status
  ResourceClaim resourceclaims ns /status
  ResourceClaimTemplate resourceclaimtemplates ns
  ResourceSlice resourceslices cluster
flowcontrol.apiserver.k8s.io/v1
  FlowSchema flowschemas cluster /status
  PriorityLevelConfiguration prioritylevelconfigurations cluster /status
storagemigration.k8s.io/v1
  StorageVersionMigration storageversionmigrations cluster /status
"""

SCALABLE = ("spec.replicas", "status.replicas", "status.selector")
"""Paths that mean "the selector is the object's own `spec.selector`" for Kubernetes' own kinds."""


def builtin() -> tuple[ResourceInfo, ...]:
    """Return Kubernetes' own resources in discovery order."""
    result: list[ResourceInfo] = []
    group = version = ""
    for line in _TABLE.strip().splitlines():
        if not line.startswith(" "):
            group, _, version = line.rpartition("/")
            continue
        result.append(_adjust(_parse(line.split(), group=group, version=version)))
    return tuple(result)


def _parse(words: list[str], *, group: str, version: str) -> ResourceInfo:
    kind, plural, scope = words[:3]
    info = ResourceInfo(
        group=group, version=version, kind=kind, plural=plural, singular=kind.lower(),
        namespaced=scope == "ns", storage_version=version, storage_group=group, storage_resource=plural,
    )  # fmt: skip
    for word in words[3:]:
        match word[0]:
            case "+":
                info = replace(info, categories=(*info.categories, word[1:]))
            case "/":
                info = replace(info, subresources=(*info.subresources, word[1:]))
            case "!":
                info = replace(info, verbs=tuple(word[1:].split(",")))
            case _:
                info = replace(info, short_names=tuple(word.split(",")))
    return info


def _adjust(info: ResourceInfo) -> ResourceInfo:
    """Point versions that share storage at where their objects are, and mark what is never stored."""
    if info.group == "autoscaling":
        return replace(info, storage_version="v2")
    if info.group == "events.k8s.io":
        return replace(info, storage_group="", storage_version="v1")
    if info.verbs == ("create",):
        return replace(info, virtual=True)
    if "scale" in info.subresources:
        return replace(info, scale_paths=SCALABLE)
    return info
