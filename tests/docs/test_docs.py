"""What the documentation speaks of exists: links, commands and flags, settings, errors, metrics, modules."""

from __future__ import annotations

import ast
import functools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from hanse_cli.kubefed import kubefed
from hanse_cli.main import _add_porcelain, hanse

from hanse.process.settings import ServiceSettings
from hanse.well_known import GROUP
from tests.docs import tables

ROOT = tables.ROOT
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SOURCES = ("src/hanse", "services", "clients", "local")
PROGRAMS: dict[str, click.Command] = {"hanse": hanse, "kubefed": kubefed}
LABELS = (
    "hanse_cluster",
    "hanse_election",
    "hanse_key",
    "hanse_phase",
    "hanse_reason",
    "hanse_ring",
    "hanse_setting",
    "hanse_state",
    "hanse_verdict",
    "hanse_version",
)
"""Labels of metrics, which look like modules."""
FENCE = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
_add_porcelain()
NAMES = [pytest.param(path, id=str(path.relative_to(ROOT))) for path in DOCUMENTS]


def code() -> Iterator[tuple[Path, ast.Module]]:
    """All of our modules but the generated ones."""
    for root in SOURCES:
        for path in sorted((ROOT / root).rglob("*.py")):
            if "api" not in path.relative_to(ROOT / root).parts[:1]:
                yield path, ast.parse(path.read_text())


def shell_lines(text: str) -> Iterator[str]:
    """Lines of shell in fences, continued ones joined, and commands between backticks."""
    for language, block in FENCE.findall(text):
        if language == "sh":
            yield from block.replace("\\\n", " ").splitlines()
    prose = FENCE.sub("", text)
    yield from (found for found in re.findall(r"`([^`\n]+)`", prose) if found.split()[0] in PROGRAMS)


def commands(text: str) -> Iterator[list[str]]:
    """Calls of our programs, as words."""
    for line in shell_lines(text):
        for part in re.split(r"&&|\||;", line.replace("`", "")):
            try:
                words = shlex.split(part, comments=True)
            except ValueError:
                continue
            if words and words[0] in PROGRAMS:
                yield words


def complaint(words: list[str]) -> str:
    """What is wrong with a call; empty if its commands and flags exist."""
    command, rest = PROGRAMS[words[0]], words[1:]
    context = click.Context(command, info_name=words[0])
    while True:
        flags = {flag for p in command.params for flag in (*p.opts, *p.secondary_opts)} | {"--help", "-h"}
        word = rest[0] if rest else ""
        if word.startswith("-"):
            flag = word.split("=")[0]
            if flag not in flags:
                return f"{command.name} has no flag {flag}"
            option = next((p for p in command.params if flag in (*p.opts, *p.secondary_opts)), None)
            takes = isinstance(option, click.Option) and not option.is_flag and "=" not in word
            rest = rest[2 if takes and isinstance(command, click.Group) else 1 :]
        elif word and isinstance(command, click.Group):
            found = command.get_command(context, word)
            if found is None:
                return f"{command.name} has no command {word}"
            command, context, rest = found, click.Context(found, info_name=word, parent=context), rest[1:]
        elif word:
            rest = rest[1:]
        else:
            return ""


def slug(heading: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def anchors(path: Path) -> set[str]:
    """The anchors of a document."""
    return {slug(h) for h in re.findall(r"^#+ (.*)$", FENCE.sub("", path.read_text()), re.MULTILINE)}


@pytest.mark.parametrize("path", NAMES)
def test_links_lead_somewhere(path: Path) -> None:
    """Each relative link names a file that exists, and an anchor that is in it."""
    broken: list[str] = []
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", path.read_text())):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("path", NAMES)
def test_commands_exist_with_their_flags(path: Path) -> None:
    """Each call of hanse and kubefed names commands and flags that there are."""
    wrong = {" ".join(words): complaint(words) for words in commands(path.read_text())}
    assert {call: why for call, why in wrong.items() if why} == {}


def test_what_a_cluster_gets_is_asked_for_in_a_form_that_shows_it() -> None:
    """A table of rendered objects has no column for the manifest, so the documents ask for YAML or JSON."""
    asked = [words for path in DOCUMENTS for words in commands(path.read_text()) if "render-object" in words]
    calls = [words for words in asked if "--object.name" in words]
    assert calls
    assert [words for words in calls if not {"yaml", "json"} & {*words}] == []


def test_a_command_that_does_not_exist_is_found() -> None:
    """The check of commands can fail: for an unknown command, an unknown flag, and one of another command."""
    assert complaint(["hanse", "fly"]) == "hanse has no command fly"
    assert complaint(["hanse", "--timeout", "3", "sim", "stop", "x", "--hard"]) == "stop has no flag --hard"
    assert complaint(["hanse", "registry", "list-clusters", "--page-size", "20", "-o", "yaml"]) == ""


@pytest.mark.parametrize("path", NAMES)
def test_make_targets_exist(path: Path) -> None:
    """Each `make` in the documents names targets of the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named: set[str] = set()
    for line in [*shell_lines(path.read_text()), *re.findall(r"`(make [^`]+)`", path.read_text())]:
        words = shlex.split(line.strip(), comments=True) if line.startswith("make ") else []
        named.update(word for word in words[1:] if "=" not in word and not word.startswith("-"))
    assert named <= targets


def test_tables_of_settings_and_rpcs_are_as_in_the_code() -> None:
    """docs/operations.md is what `python -m tests.docs.tables` writes."""
    text = tables.OPERATIONS.read_text()
    assert tables.written(text) == text, "run python -m tests.docs.tables"
    text = tables.ARCHITECTURE.read_text()
    assert tables.architecture(text) == text, "run python -m tests.docs.tables"


@pytest.mark.parametrize("path", NAMES)
def test_settings_that_are_named_exist(path: Path) -> None:
    """Each SERVICE.SETTING of --set and each HANSE_SERVICE_SETTING is a setting."""
    text = path.read_text()
    known = {c.service: {*tables.own_fields(c), *tables.own_fields(ServiceSettings)} for c in tables.SETTINGS}
    named = set(re.findall(r"--set ([a-z]+)\.(\w+)=", text))
    for service in known:
        named |= {(service, name.lower()) for name in re.findall(rf"HANSE_{service.upper()}_([A-Z_]+)", text)}
    assert {f"{s}.{n}" for s, n in named if n not in known[s] | {"config"}} == set()


def error_reasons() -> set[str]:
    """Every reason that an error of ours can have: defaults of classes, and what is passed as `reason`."""
    trees = list(code())
    constants: dict[str, str] = {}
    for _, tree in trees:
        for node in tree.body:
            target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
            value = getattr(node, "value", None)
            if (
                isinstance(target, ast.Name)
                and isinstance(value, ast.Constant)
                and isinstance(value.value, str)
            ):
                constants[target.id] = value.value
    found: set[str] = set()
    for _, tree in trees:
        for each in ast.walk(tree):
            if isinstance(each, ast.keyword) and each.arg == "reason":
                for part in ast.walk(each.value):
                    if isinstance(part, ast.Constant) and isinstance(part.value, str):
                        found.add(part.value)
                    elif isinstance(part, ast.Name):
                        found.add(constants.get(part.id, ""))
            elif isinstance(each, ast.AnnAssign | ast.Assign):
                target = each.targets[0] if isinstance(each, ast.Assign) else each.target
                if (
                    isinstance(target, ast.Name)
                    and target.id == "default_reason"
                    and isinstance(each.value, ast.Constant)
                ):
                    found.add(str(each.value.value))
    return {
        reason for reason in found if re.fullmatch(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*", reason) and len(reason) > 3
    }


def test_all_error_reasons_are_explained() -> None:
    """docs/errors.md lists exactly the reasons that the code can give."""
    rows = re.findall(r"^\| (`.*?) \|", (ROOT / "docs" / "errors.md").read_text(), re.MULTILINE)
    listed = [reason for row in rows for reason in re.findall(r"`([A-Z_0-9]+)`", row)]
    assert len(listed) == len(set(listed))
    assert set(listed) == error_reasons()


@functools.cache
def instruments() -> dict[str, str]:
    """The instruments that the code creates, and their names as Prometheus has them."""
    found: dict[str, str] = {}
    for _, tree in code():
        for call in (
            n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)
        ):
            assert isinstance(call.func, ast.Attribute)
            kind = re.fullmatch(
                r"create_(histogram|counter|up_down_counter|observable_gauge)", call.func.attr
            )
            if kind and call.args and isinstance(call.args[0], ast.Constant):
                name = str(call.args[0].value)
                suffix = {"histogram": "_seconds", "counter": "_total"}.get(kind[1], "")
                found[name] = name.replace(".", "_") + suffix
    return found


def test_all_metrics_are_listed() -> None:
    """The table of metrics has exactly those that the code creates, besides the process's own."""
    text = tables.OPERATIONS.read_text()
    table = text[text.index("| metric |") : text.index("Alert on:")]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    listed = {
        name for cell in cells for name in re.findall(r"`(\w+)`", cell) if not name.startswith("process_")
    }
    assert listed == set(instruments().values())


def test_reasons_of_placement_exist() -> None:
    """Each reason in the table of placement is one that the scheduler gives."""
    text = (ROOT / "docs" / "concepts.md").read_text()
    table = text[text.index("| asked |") : text.index("A cluster that has the object")]
    scheduler = "".join(path.read_text() for path in (ROOT / "services" / "scheduler").rglob("*.py"))
    named = set(re.findall(r"`([A-Z][a-z]+[A-Za-z]+)`", table)) - {"NoExecute"}
    assert named
    assert {name for name in named if f'"{name}"' not in scheduler} == set()


def test_modules_that_are_named_exist() -> None:
    """Each module and file of ours that the documents name between backticks is there."""
    roots = [
        ROOT / "src",
        *(ROOT / "services").iterdir(),
        *(ROOT / "clients").iterdir(),
        ROOT / "local",
        ROOT,
    ]
    missing: list[str] = []
    for path in DOCUMENTS:
        for name in re.findall(
            r"`(hanse(?:_[a-z]+)?(?:[./][a-z_]+)*(?:\.py)?/?)`", FENCE.sub("", path.read_text())
        ):
            parts = re.split(r"[./]", name.removesuffix(".py").rstrip("/"))
            metrics = {*instruments(), *instruments().values()}
            if name.startswith((GROUP, *LABELS)) or name == "hanse" or name in metrics:
                continue
            if not any(_is_there(root, parts) for root in roots):
                missing.append(f"{path.name}: {name}")
    assert missing == []


def _is_there(root: Path, parts: list[str]) -> bool:
    """Whether the parts are a module or package below `root`, or a name in such a module."""
    whole, owner = root.joinpath(*parts), root.joinpath(*parts[:-1]).with_suffix(".py")
    if whole.is_dir() or whole.with_suffix(".py").exists():
        return True
    return len(parts) > 1 and owner.exists() and re.search(rf"\b{parts[-1]}\b", owner.read_text()) is not None


def test_all_decisions_are_indexed() -> None:
    """docs/adr/README.md links every decision."""
    folder = ROOT / "docs" / "adr"
    index = (folder / "README.md").read_text()
    assert {p.name for p in folder.glob("0*.md")} == set(re.findall(r"\((0\d+-[\w-]+\.md)\)", index))


@pytest.mark.parametrize("path", NAMES)
def test_no_line_is_too_long_to_read(path: Path) -> None:
    """Prose is at most 120 characters a line; tables, code and links may be longer."""
    prose = FENCE.sub("", path.read_text()).splitlines()
    assert [line for line in prose if len(line) > 120 and not line.startswith("|") and "](" not in line] == []
