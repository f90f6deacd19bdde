"""Writes the software bill of materials of the image: CycloneDX 1.6, as /usr/share/doc/hanse/sbom.cdx.json.

It lists Hanse, each Python distribution, Python itself and each Debian package of which a file is in the
image, with versions, licenses and package URLs. It is the same every time: its time is the one that is
given, its serial number is made from that and what it lists.
"""

from __future__ import annotations

import argparse
import platform
import re
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import Distribution, distributions
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import License
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

OUT = Path("/out")
TARGET = OUT / "application/usr/share/doc/hanse/sbom.cdx.json"
NAMESPACE = uuid.UUID("a2c5f7de-7f3e-5b0e-9a53-5d1c3c9b1c10")
"""Of the serial numbers of such lists."""


def python_distributions() -> Iterator[Distribution]:
    """All that is installed in the image, Hanse too."""
    paths = [str(path) for path in sorted(OUT.glob("*/opt/hanse/lib/python3.*/site-packages"))]
    yield from sorted(distributions(path=paths), key=lambda each: canonicalize_name(each.name))


def license_of(distribution: Distribution) -> list[License]:
    """Return what the distribution says of its license, as an expression where it is one."""
    said = field(distribution, "License-Expression") or field(distribution, "License")
    classifiers = distribution.metadata.get_all("Classifier") or []
    names = [each.rpartition(" :: ")[2] for each in classifiers if each.startswith("License ::")]
    text = said if said and "\n" not in said else " AND ".join(names)
    return [LicenseFactory().make_from_string(text)] if text else []


def field(distribution: Distribution, name: str) -> str:
    """Return a field of its metadata; empty if there is none."""
    return next(iter(distribution.metadata.get_all(name) or ()), "")


def python_component(distribution: Distribution) -> Component:
    """Return the entry of a distribution."""
    name = canonicalize_name(distribution.name)
    return Component(
        type=ComponentType.APPLICATION if name == "hanse" else ComponentType.LIBRARY,
        name=name,
        version=distribution.version,
        purl=(purl := PackageURL("pypi", name=name, version=distribution.version)),
        bom_ref=purl.to_string(),
        licenses=license_of(distribution),
        description=field(distribution, "Summary") or None,
    )


def debian_components() -> Iterator[Component]:
    """Yield the entries of the Debian packages."""
    text = (OUT / "root/etc/os-release").read_text()
    release = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', text, re.MULTILINE))
    for path in sorted((OUT / "root/var/lib/dpkg/status.d").iterdir()):
        fields = dict(re.findall(r"^([\w-]+): (.*)$", path.read_text(), re.MULTILINE))
        purl = PackageURL(
            "deb",
            namespace=release["ID"],
            name=fields["Package"],
            version=fields["Version"],
            qualifiers={
                "arch": fields["Architecture"],
                "distro": f"{release['ID']}-{release['VERSION_ID']}",
                **({"upstream": fields["Source"].split()[0]} if "Source" in fields else {}),
            },
        )
        yield Component(
            type=ComponentType.LIBRARY,
            name=fields["Package"],
            version=fields["Version"],
            purl=purl,
            bom_ref=purl.to_string(),
            description=fields.get("Description"),
        )


def interpreter() -> Component:
    """Return the entry of Python, which not every base has from a package."""
    version = platform.python_version()
    return Component(
        type=ComponentType.PLATFORM,
        name="python",
        version=version,
        purl=(purl := PackageURL("generic", name="python", version=version)),
        bom_ref=purl.to_string(),
        licenses=[LicenseFactory().make_from_string("PSF-2.0")],
        cpe=f"cpe:2.3:a:python:python:{version}:*:*:*:*:*:*:*",
    )


def needs(distribution: Distribution) -> Iterator[NormalizedName]:
    """Yield the names of the distributions that this one requires in the image."""
    for text in distribution.requires or ():
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield canonicalize_name(requirement.name)


def bill(*, epoch: int) -> Bom:
    """Return the whole list; `epoch` is its time in seconds."""
    found = {canonicalize_name(each.name): each for each in python_distributions()}
    entries: dict[str, Component] = {name: python_component(each) for name, each in found.items()}
    system = [interpreter(), *debian_components()]
    bom = Bom(components=[*(entry for name, entry in entries.items() if name != "hanse"), *system])
    bom.metadata.component = entries["hanse"]
    bom.metadata.timestamp = datetime.fromtimestamp(epoch, UTC)
    for name, each in found.items():
        wanted = [entries[other] for other in sorted({*needs(each)}) if other in entries]
        bom.register_dependency(entries[name], [*wanted, *(system if name == "hanse" else [])])
    listed = sorted(str(entry.purl) for entry in [*entries.values(), *system])
    bom.serial_number = uuid.uuid5(NAMESPACE, "\n".join([str(epoch), *listed]))
    return bom


def main() -> None:
    """Write it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--epoch", type=int, required=True, help="time of the list, in seconds")
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(JsonV1Dot6(bill(epoch=parser.parse_args().epoch)).output_as_string(indent=2) + "\n")


if __name__ == "__main__":
    main()
