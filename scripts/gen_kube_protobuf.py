"""Make `src/hanse/kube/data/protobuf.gz` from the `generated.proto` files of Kubernetes' Go modules.

    python scripts/gen_kube_protobuf.py [MODULE_DIRECTORY]

The directory is where `k8s.io/api@VERSION` and its siblings are unpacked; by default Go's module cache, as
`tests/real/controlplane` fills it. The result has one line: JSON of the messages that the built-in kinds use,
by their OpenAPI name, each a list of [number, JSON name, type, flags]. Flags: r repeated, m map (its type is
the value's), i inline (the JSON has the message's fields in its parent), z a zero value is the same as none.
Names and the last two are read from the Go types beside the `generated.proto`.
"""

import gzip
import re
import subprocess
import sys
from pathlib import Path

import orjson

from hanse.kube.merge.schema import SchemaSet

OUT = Path(__file__).parent.parent / "src/hanse/kube/data/protobuf.gz"
MODULES = ("api", "apimachinery", "apiextensions-apiserver", "kube-aggregator")
FIELD = re.compile(r"^\s*(optional|repeated|required)?\s*(map<\w+,\s*([\w.]+)>|[\w.]+)\s+(\w+)\s*=\s*(\d+)")
STRUCT = re.compile(r"^type (\w+) struct \{")
TAGGED = re.compile(r'^\s*(?:\w+\s+)?(\*?)[\w.\[\]*]+\s+`json:"([^"]*)".*protobuf:"\w+,(\d+),')


def newest(root: Path, module: str) -> Path:
    """Return the directory of the newest version of a module."""
    return max(root.glob(f"{module}@*"), key=lambda p: [int(n) for n in re.findall(r"\d+", p.name)])


def openapi_name(package: str, message: str) -> str:
    """Return the OpenAPI name of a message: its package with the domain reversed."""
    return f"{package.replace('k8s.io.', 'io.k8s.', 1).replace('_', '-')}.{message}"


def read_go(directory: Path) -> dict[str, dict[int, tuple[str, str]]]:
    """Return for each Go struct the JSON name and the flags of its fields by number."""
    structs: dict[str, dict[int, tuple[str, str]]] = {}
    for path in directory.glob("*.go"):
        name = ""
        for line in path.read_text().splitlines():
            if found := STRUCT.match(line):
                name = found[1]
            elif line.startswith("}"):
                name = ""
            elif name and (found := TAGGED.match(line)):
                pointer, tag, number = found.groups()
                json_name, _, options = tag.partition(",")
                flags = "" if json_name else "i"
                flags += "z" if "omitempty" in options and not pointer else ""
                structs.setdefault(name, {})[int(number)] = (json_name, flags)
    return structs


def read(path: Path, messages: dict[str, list[list[object]]]) -> None:
    """Add the messages of one file."""
    structs = read_go(path.parent)
    package = message = struct = ""
    for line in path.read_text().splitlines():
        if line.startswith("package "):
            package = line.split()[1].rstrip(";")
        elif line.startswith("message "):
            struct = line.split()[1]
            message = openapi_name(package, struct)
            messages[message] = []
        elif message and (found := FIELD.match(line)):
            label, kind, value, name, number = found.groups()
            kind = value or kind
            kind = kind.lstrip(".")
            if kind[0].isupper():
                kind = f"{package}.{kind}"
            if "." in kind:
                kind = openapi_name(*kind.rsplit(".", 1))
            flags = "m" if value else "r" if label == "repeated" else ""
            json_name, more = structs.get(struct, {}).get(int(number), (name, ""))
            messages[message].append([int(number), json_name or name, kind, flags + more])


def main() -> None:
    """Write the file; print what needs a look."""
    default = subprocess.run(["go", "env", "GOMODCACHE"], capture_output=True, text=True, check=True).stdout
    root = Path(sys.argv[1] if len(sys.argv) > 1 else default.strip() + "/k8s.io")
    messages: dict[str, list[list[object]]] = {}
    for module in MODULES:
        for path in sorted(newest(root, module).rglob("generated.proto")):
            read(path, messages)
    schemas = SchemaSet.builtin()
    known = set(schemas.definition_names())
    needed: set[str] = set()
    todo = [name for name in messages if name in known]
    while todo:
        name = todo.pop()
        if name not in needed and name in messages:
            needed.add(name)
            todo += [str(kind) for _, _, kind, _ in messages[name] if "." in str(kind)]
    body = orjson.dumps({name: messages[name] for name in sorted(needed)})
    OUT.write_bytes(gzip.compress(body, 9, mtime=0))
    print(f"{len(needed)} messages, {OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
