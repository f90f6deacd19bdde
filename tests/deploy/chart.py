"""The Helm chart, made of what kustomize makes: the same manifests, with values in place of what a user sets.

Owns the templates and the values of deploy/helm/hanse. Manifests that both overlays have stand in
common.yaml, others in single.yaml and ha.yaml, those of components in files of their own. What a component
takes away stands where it would be, under the condition that the component is not there. What becomes a
value is replaced by a mark before a manifest is written as YAML, and the mark by the template afterwards, so
nothing of a template is quoted.

`python -m tests.deploy.chart` writes the files; tests/real compares what helm makes of them. Pure, but for
that.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

from hanse.documents import to_yaml
from tests.deploy.manifests import SERVICES, Manifest, build, named, of_kind

CHART = Path(__file__).resolve().parents[2] / "deploy" / "helm" / "hanse"
HEAD = "# Written by `python -m tests.deploy.chart` from deploy/k8s.\n"
PROFILES = ("single", "ha")
COMPONENTS = {
    "backup": "backup",
    "certManager": "cert-manager",
    "externalEtcd": "external-etcd",
    "gateway": "gateway",
    "monitoring": "monitoring",
    "hostMember": "host-member",
}
"""Components of the chart's values, and those of deploy/k8s."""
FEDERATION = ("name", "dnsSuffix", "etcdEndpoints", "etcdPrefix")
_HASHED = re.compile(r"^hanse-(federation|etcd|apiserver|registry|scheduler|syncer|dns)-[a-z0-9]{10}$")
_INITIAL = "ETCD_INITIAL_CLUSTER"
_PULL_SECRETS = """{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
"""
_DATA_HELPER = """{{/* Data of a ConfigMap, which is text: a number is written as one writes it. */}}
{{- define "hanse.data" -}}
{{- range $name, $value := . }}
{{- if and (kindIs "float64" $value) (eq (floor $value) $value) }}
{{ $name }}: {{ $value | int64 | toString | quote }}
{{- else }}
{{ $name }}: {{ $value | toString | quote }}
{{- end }}
{{- end }}
{{- end }}
"""
_PORTS_HELPER = """{{/* The ports of federation.etcdEndpoints, as a NetworkPolicy has them. */}}
{{- define "hanse.etcdPorts" -}}
{{- $ports := list }}
{{- range splitList "," .Values.federation.etcdEndpoints }}
{{- $ports = append $ports (. | trim | splitList ":" | last) }}
{{- end }}
{{- range $ports | uniq }}
- port: {{ . }}
  protocol: TCP
{{- end }}
{{- end }}
"""
_ENDPOINTS_CHECK = """{{- $endpoints := .Values.federation.etcdEndpoints }}
{{- if and .Values.components.externalEtcd (contains "hanse-etcd:" $endpoints) }}
{{- fail "components.externalEtcd needs the endpoints of your etcd in federation.etcdEndpoints" }}
{{- end }}
"""
_IMAGES = {"hanse": "image", "etcd": "etcdImage"}


def settings(profile: str = "single") -> dict[str, dict[str, str]]:
    """What each ConfigMap of settings holds, by service; `etcd` too."""
    found: dict[str, dict[str, str]] = {}
    for each in of_kind(build(profile), "ConfigMap"):
        match = _HASHED.match(each["metadata"]["name"])
        if match is not None and match[1] != "federation":
            found[match[1]] = each["data"]
    return {name: found[name] for name in (*SERVICES, "etcd")}


def values_text() -> str:
    """values.yaml."""
    manifests = build("single")
    federation = next(
        each["data"]
        for each in of_kind(manifests, "ConfigMap")
        if each["metadata"]["name"].startswith("hanse-federation-")
    )
    denied = named(manifests, "ConfigMap", "hanse-deny-list")["data"]["denied"]
    images = {_image(each)[0]: _image(each)[1] for each in of_kind(manifests, "Deployment", "StatefulSet")}

    def image(name: str) -> dict[str, str]:
        repository, _, tag = images[name].rpartition(":")
        return {"repository": repository, "tag": tag, "pullPolicy": "IfNotPresent"}

    parts: list[tuple[str, Any]] = [
        (
            "What there is, as in the overlays of deploy/k8s: single, for one node, or ha.",
            {"profile": "single"},
        ),
        ("The image of all services; name yours, by a tag that stays.", {"image": image("hanse")}),
        ("The image of etcd.", {"etcdImage": image("etcd")}),
        ("Secrets for the registry of the images, as [{name: x}].", {"imagePullSecrets": []}),
        (
            "Whether the chart makes the namespace. The Secrets need it before, so mostly not.",
            {"createNamespace": False},
        ),
        ("The optional components of deploy/k8s.", {"components": dict.fromkeys(COMPONENTS, False)}),
        ("What all services must agree on.", {"federation": {key: federation[key] for key in FEDERATION}}),
        ("Certificates that count no more, an entry a line.", {"denied": denied}),
        (
            "Settings of the services and of etcd, as variables: docs/operations.md lists them.",
            {"settings": settings()},
        ),
    ]
    return HEAD + "\n".join(f"# {comment}\n{to_yaml(value)}" for comment, value in parts)


def _image(workload: Manifest) -> tuple[str, str]:
    container = workload["spec"]["template"]["spec"]["containers"][0]
    return container["name"], container["image"]


def templates() -> dict[str, str]:
    """The templates, by file name."""
    by_profile = {
        profile: [_template(each, without=_taken_away(each, profile)) for each in build(profile)]
        for profile in PROFILES
    }
    common = [each for each in by_profile["single"] if each in by_profile["ha"]]
    check = """{{- if not (has .Values.profile (list "single" "ha")) }}
{{- fail (printf "profile is %s: it must be single or ha" .Values.profile) }}
{{- end }}
"""
    check += _ENDPOINTS_CHECK
    files = {"common.yaml": HEAD + check + _joined(common)}
    for profile, every in by_profile.items():
        own = [each for each in every if each not in common]
        files[f"{profile}.yaml"] = HEAD + _when(f'eq .Values.profile "{profile}"', _joined(own))
    for value, component in COMPONENTS.items():
        plain = {(each["kind"], _unhashed(each)) for each in build("single")}
        own = [
            _template(each)
            for each in build("single", component)
            if (each["kind"], _unhashed(each)) not in plain
        ]
        files[f"{component}.yaml"] = HEAD + _when(f".Values.components.{value}", _joined(own))
    return files


def _unhashed(manifest: Manifest) -> str:
    """The name of an object, without the hash of what is in it."""
    name = str(manifest["metadata"]["name"])
    return name.rpartition("-")[0] if _HASHED.match(name) else name


def _taken_away(manifest: Manifest, profile: str) -> str:
    """The value of the component with which an object is not there; empty if there is none."""
    own = (manifest["kind"], _unhashed(manifest))
    for value, component in COMPONENTS.items():
        if own not in {(each["kind"], _unhashed(each)) for each in build(profile, component)}:
            return value
    return ""


def _joined(documents: list[str]) -> str:
    return "".join(f"---\n{each}" for each in documents)


def _when(condition: str, text: str) -> str:
    return f"{{{{- if {condition} }}}}\n{text}{{{{- end }}}}\n"


class _Marks:
    """Marks that stand for parts of a template until the YAML is written."""

    def __init__(self) -> None:
        self._templates: list[str] = []

    def put(self, template: str) -> str:
        """Return a mark for a piece of a template."""
        self._templates.append(template)
        return f"MARK{len(self._templates) - 1}MARK"

    def resolve(self, text: str) -> str:
        """Replace the marks; what looked like a template before is text."""
        text = re.sub(r"\{\{|\}\}", lambda found: f'{{{{ "{found[0]}" }}}}', text)
        return re.sub(r"MARK(\d+)MARK", lambda found: self._templates[int(found[1])], text)


def _template(manifest: Manifest, *, without: str = "") -> str:
    """A manifest as a template; not there with the component `without`."""
    marks = _Marks()
    kind = manifest["kind"]
    marked = _marked(manifest, marks)
    after = ""
    if kind == "ConfigMap":
        marked["data"] = marks.put(_data(manifest))
    elif kind == "ServiceAccount":
        after = _PULL_SECRETS
    elif kind == "Job":
        # A Job cannot be changed: helm makes it again, after everything else is there.
        marked["metadata"]["annotations"] = {
            "helm.sh/hook": "post-install,post-upgrade",
            "helm.sh/hook-delete-policy": "before-hook-creation",
        }
    elif manifest["metadata"]["name"] == "hanse-external-etcd":
        for rule in marked["spec"]["egress"]:
            rule["ports"] = marks.put('\n{{- include "hanse.etcdPorts" . | nindent 6 }}')
    text = marks.resolve(to_yaml(marked)) + after
    if without:
        text = _when(f"not .Values.components.{without}", text)
    return _when(".Values.createNamespace", text) if kind == "Namespace" else text


def _data(manifest: Manifest) -> str:
    """The data of a ConfigMap."""
    match = _HASHED.match(manifest["metadata"]["name"])
    if match is None:
        return "\n  denied: {{ .Values.denied | quote }}"
    return f'\n  {{{{- include "hanse.data" ({_values(match[1])}) | trim | nindent 2 }}}}'


def _values(name: str) -> str:
    """What a ConfigMap of settings is made of."""
    if name == "etcd":
        return 'include "hanse.etcdSettings" . | fromYaml'
    return ".Values.federation" if name == "federation" else f".Values.settings.{name}"


def _marked(value: Any, marks: _Marks, *, key: str = "") -> Any:
    """A copy of a part of a manifest with marks for what is a value."""
    if isinstance(value, dict):
        if value.get("kind") == "Namespace":
            return {**value, "metadata": {**value["metadata"], "name": marks.put("{{ .Release.Namespace }}")}}
        marked = {each: _marked(part, marks, key=each) for each, part in value.items()}
        if "image" in value and "imagePullPolicy" in value:
            own = f".Values.{_IMAGES[value['name']]}"
            marked["image"] = marks.put(f'{{{{ printf "%s:%s" {own}.repository {own}.tag }}}}')
            marked["imagePullPolicy"] = marks.put(f"{{{{ {own}.pullPolicy }}}}")
        return marked
    if isinstance(value, list):
        return [_marked(part, marks, key=key) for part in value]
    if not isinstance(value, str):
        return value
    if key == "namespace":
        return marks.put("{{ .Release.Namespace }}")
    match = _HASHED.match(value)
    if key == "name" and match is not None:
        return f"hanse-{match[1]}-" + marks.put(
            f'{{{{ include "hanse.data" ({_values(match[1])}) | sha256sum | trunc 10 }}}}'
        )
    if key == "dnsNames":
        return re.sub(r"\.hanse(?=\.svc|$)", lambda _: "." + marks.put("{{ .Release.Namespace }}"), value)
    return value


def helpers_text() -> str:
    """_helpers.tpl."""
    initial = settings("ha")["etcd"][_INITIAL]
    return (
        "{{/* Written by `python -m tests.deploy.chart` from deploy/k8s.\n"
        "     The settings of etcd: of its members, as many as the profile has. */}}\n"
        '{{- define "hanse.etcdSettings" -}}\n'
        "{{- $own := dict }}\n"
        '{{- if eq .Values.profile "ha" }}\n'
        f'{{{{- $_ := set $own "{_INITIAL}" "{initial}" }}}}\n'
        "{{- end }}\n"
        "{{- toYaml (merge $own .Values.settings.etcd) }}\n"
        "{{- end }}\n" + _DATA_HELPER + _PORTS_HELPER
    )


def files() -> dict[Path, Any]:
    """What the files of the chart are to hold, by path: functions that return it."""
    names = ("common.yaml", *(f"{each}.yaml" for each in (*PROFILES, *COMPONENTS.values())))
    return {
        CHART / "values.yaml": values_text,
        CHART / "templates" / "_helpers.tpl": helpers_text,
        **{CHART / "templates" / name: functools.partial(_file, name) for name in names},
    }


def _file(name: str) -> str:
    return templates()[name]


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text())
