"""Turn one Kubernetes version's JSON schemas into the compact files that `hanse.kube.merge.schema` loads.

The source is the newest `_definitions.json` that the development dependency kubernetes-validate bundles.
Two files result: the structure (a JSON index line, then each definition's JSON, so that a process parses
only the definitions that it uses) and the descriptions (only for serving OpenAPI). Both are the same bytes
for the same input and the same zlib.

Run it as `python scripts/build_schema.py` after an upgrade of kubernetes-validate; with `--check` it only
compares. Next: src/hanse/kube/merge/schema.py, which reads what this writes.
"""

from __future__ import annotations

import argparse
import gzip
import re
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import orjson

DATA = Path(__file__).resolve().parent.parent / "src" / "hanse" / "kube" / "data"
STRUCTURE = "schema.gz"
DESCRIPTIONS = "descriptions.gz"
META = "io.k8s.apimachinery.pkg.apis.meta.v1."
INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"

# Kubernetes' own OpenAPI has these; the bundled files lose `default`. They matter to list map keys.
DEFAULTS = {
    ("io.k8s.api.core.v1.ContainerPort", "protocol"): "TCP",
    ("io.k8s.api.core.v1.ServicePort", "protocol"): "TCP",
}


def newest() -> Path:
    """Return the `_definitions.json` of the newest bundled version."""
    root = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
    found = {
        tuple(int(part) for part in match.groups()): path
        for path in root.iterdir()
        if (match := re.fullmatch(r"v(\d+)\.(\d+)\.(\d+)-local", path.name))
    }
    return found[max(found)] / "_definitions.json"


def compact(node: dict[str, Any], *, path: str, descriptions: dict[str, str]) -> dict[str, Any]:
    """Return the structure of one schema node; its descriptions go to `descriptions` by path.

    A path is '' for the definition itself, '/name' for a property, '/[]' for items, '/{}' for values.
    """
    out: dict[str, Any] = {}
    for key, value in node.items():
        if key == "description":
            descriptions[path] = value
        elif key == "$ref":
            out["$ref"] = value.rsplit("/", 1)[1]
        elif key == "type":
            out["type"] = next(t for t in value if t != "null") if isinstance(value, list) else value
        elif key == "properties":
            out["properties"] = {
                name: compact(child, path=f"{path}/{name}", descriptions=descriptions)
                for name, child in sorted(value.items())
            }
        elif key == "items":
            out["items"] = compact(value, path=f"{path}/[]", descriptions=descriptions)
        elif key == "additionalProperties" and isinstance(value, dict):
            out[key] = compact(value, path=f"{path}/{{}}", descriptions=descriptions)
        elif key == "enum" and path in ("/apiVersion", "/kind"):
            continue  # the bundler's addition, not Kubernetes'
        else:
            out[key] = value
    return out


def build(source: Path) -> tuple[bytes, bytes]:
    """Return the uncompressed structure file and descriptions file for one `_definitions.json`."""
    definitions: dict[str, Any] = orjson.loads(source.read_bytes())["$defs"]
    body = bytearray()
    index: dict[str, list[int]] = {}
    kinds: list[list[str]] = []
    texts: dict[str, dict[str, str]] = {}
    for name, node in sorted(definitions.items()):
        texts[name] = {}
        out = compact(node, path="", descriptions=texts[name])
        if name == INT_OR_STRING:
            out = {"type": "string", "format": "int-or-string"}
        elif name == QUANTITY:
            out = {"type": "string"}
        for (owner, field), value in DEFAULTS.items():
            if owner == name:
                out["properties"][field]["default"] = value
        kinds += [
            [gvk["group"], gvk["version"], gvk["kind"], name]
            for gvk in out.get("x-kubernetes-group-version-kind", ())
        ]
        data = orjson.dumps(out, option=orjson.OPT_SORT_KEYS)
        index[name] = [len(body), len(data)]
        body += data
    version = source.parent.name.removeprefix("v").removesuffix("-local")
    header = {"version": version, "definitions": index, "kinds": sorted(kinds)}
    return orjson.dumps(header) + b"\n" + bytes(body), orjson.dumps(texts, option=orjson.OPT_SORT_KEYS)


def main() -> int:
    """Write the two files, or with --check return 1 if they differ from what would be written."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    arguments = parser.parse_args()
    stale = []
    for name, content in zip((STRUCTURE, DESCRIPTIONS), build(newest()), strict=True):
        target = DATA / name
        if arguments.check:
            if not target.exists() or gzip.decompress(target.read_bytes()) != content:
                stale.append(name)
            continue
        target.write_bytes(gzip.compress(content, 9, mtime=0))
        print(f"{target.name}: {len(content)} bytes, {target.stat().st_size} compressed")
    if stale:
        print(f"stale: {', '.join(stale)}: run python scripts/build_schema.py", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
