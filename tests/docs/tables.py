"""The tables that follow from the code: settings and who may call which RPC (docs/operations.md), and who may
read and write which keys, and the packages (ARCHITECTURE.md).

`python -m tests.docs.tables` writes them; `test_docs` compares. Pure, but for that.
"""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path
from typing import Any

from hanse_apiserver.rpc.service import policy as federation_policy
from hanse_apiserver.settings import ApiserverSettings
from hanse_dns.service import POLICY as DNS
from hanse_dns.settings import DnsSettings
from hanse_registry.service import POLICY as REGISTRY
from hanse_registry.settings import RegistrySettings
from hanse_scheduler.service import POLICY as SCHEDULER
from hanse_scheduler.settings import SchedulerSettings
from hanse_simulator.settings import SimulatorSettings
from hanse_syncer.service import POLICY as SYNCER
from hanse_syncer.settings import SyncerSettings

from hanse.process.settings import ServiceSettings, Settings, field_docs
from hanse.rpc.policy import AUTHENTICATED, Policy
from hanse.store import rights

ROOT = Path(__file__).resolve().parents[2]
OPERATIONS = ROOT / "docs" / "operations.md"
ARCHITECTURE = ROOT / "ARCHITECTURE.md"
SETTINGS: tuple[type[ServiceSettings], ...] = (
    ApiserverSettings,
    RegistrySettings,
    SchedulerSettings,
    SyncerSettings,
    DnsSettings,
    SimulatorSettings,
)
POLICIES: tuple[Policy, ...] = (
    REGISTRY,
    SCHEDULER,
    SYNCER,
    DNS,
    federation_policy(viewer_groups=ApiserverSettings.viewer_groups),
)


def _default(value: Any) -> str:
    if isinstance(value, tuple):
        value = ",".join(value)
    if isinstance(value, bool):
        value = str(value).lower()
    return f"`{value}`" if str(value) else ""


def own_fields(cls: type[Settings]) -> list[str]:
    """The settings that a class adds to those of its base."""
    names = {field.name for field in dataclasses.fields(ServiceSettings)}
    return [f.name for f in dataclasses.fields(cls) if cls is ServiceSettings or f.name not in names]


def settings_tables() -> str:
    """One table for what all services can be told, and one for each service."""
    parts: list[str] = []
    classes: tuple[type[ServiceSettings], ...] = (ServiceSettings, *SETTINGS)
    for cls in classes:
        title = "Every service" if cls is ServiceSettings else cls.service
        docs, fields = field_docs(cls), {field.name: field for field in dataclasses.fields(cls)}
        parts += [f"### {title}", "", "| setting | default | |", "|---|---|---|"]
        for name in own_fields(cls):
            text = docs[name].replace("|", "\\|")
            parts.append(f"| `{name}` | {_default(fields[name].default)} | {text} |")
        parts.append("")
    return "\n".join(parts)


def _who(principals: frozenset[str]) -> str:
    if not principals:
        return "admins only"
    words = [
        "everybody with a certificate"
        if each == AUTHENTICATED
        else f"`{each.removeprefix('group:').removeprefix('user:')}`"
        for each in sorted(principals)
    ]
    return ", ".join(words)


def rpc_table() -> str:
    """Who may call which method."""
    rows = ["| method | who, besides admins |", "|---|---|"]
    for policy in POLICIES:
        for method, principals in policy._rules.items():
            short = re.sub(r"^hanse\.api\.\w+\.v1\.", "", method)
            rows.append(f"| `{short}` | {_who(principals)} |")
    return "\n".join([*rows, ""])


def rights_table() -> str:
    """Who may read and write which keys of etcd."""
    rows = ["| service | reads | writes |", "|---|---|---|"]
    rows += [f"| {service} | {reads} | {writes} |" for service, reads, writes in rights.table()]
    return "\n".join([*rows, ""])


PACKAGES = ("src/hanse", "services", "clients", "local")
"""Where the packages of the product are."""


def packages_tree() -> str:
    """All packages, each with the first sentence of its docstring."""
    lines: list[str] = []
    for root in PACKAGES:
        for init in sorted((ROOT / root).rglob("__init__.py")):
            if init.is_relative_to(ROOT / "src" / "hanse" / "api"):
                continue
            module = ".".join(init.parent.relative_to(ROOT / "src" if root == "src/hanse" else ROOT).parts)
            module = re.sub(r"^(?:services|clients)\.\w+\.|^local\.", "", module)
            depth = module.count(".")
            docstring = (ast.get_docstring(ast.parse(init.read_text())) or "").split("\n\n")[0]
            said = re.split(r"\.(?:\s|$)", " ".join(docstring.split()))[0].replace("`", "")
            name = "  " * depth + module.rpartition(".")[2]
            lines.append(f"{name:<18} {_cut(said, 100)}")
        lines.append("")
    return "```\n" + "\n".join(lines).rstrip() + "\n```\n"


def _cut(sentence: str, length: int) -> str:
    """A sentence, up to its last comma or colon before `length` if it is longer."""
    return sentence if len(sentence) <= length else re.split(r"[,:;](?=[^,:;]*$)", sentence[:length])[0]


def architecture(text: str) -> str:
    """`text` of ARCHITECTURE.md with all tables as they should be."""
    return replaced(replaced(text, "rights", rights_table()), "packages", packages_tree())


def replaced(text: str, name: str, content: str) -> str:
    """`text` with `content` between the two comments called `name`."""
    pattern = rf"(<!-- {name}: begin[^>]*-->\n).*?(<!-- {name}: end -->)"
    result, count = re.subn(pattern, lambda m: f"{m[1]}{content}{m[2]}", text, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"there are {count} places for {name}")
    return result


def written(text: str) -> str:
    """`text` of docs/operations.md with all tables as they should be."""
    return replaced(replaced(text, "settings", settings_tables()), "rpcs", rpc_table())


if __name__ == "__main__":
    OPERATIONS.write_text(written(OPERATIONS.read_text()))
    ARCHITECTURE.write_text(architecture(ARCHITECTURE.read_text()))
