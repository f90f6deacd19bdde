"""`python -m tests.real.verdicts KUBECONFIG [--kind KIND] [--most N] [--valid]`: all verdicts that differ.

Posts every manifest and everything that is made of it to the API server of the kubeconfig, with `dryRun=All`.
"""

from __future__ import annotations

import argparse
import asyncio
from collections import Counter
from collections.abc import Iterator

import orjson

from hanse.kube.client.access import ClusterAccess
from hanse.kube.kinds.catalogue import Catalogue
from hanse.kube.kinds.strategies.kubernetes import kubernetes
from tests.real.verdicts.breaking import Broken, Budget, broken
from tests.real.verdicts.known import is_known
from tests.real.verdicts.manifests import label, manifests
from tests.real.verdicts.verdicts import NAMESPACE, compare, resource_of
from tests.support.machine.raw import raw
from tests.support.object_client import ObjectClient


def everything(catalogue: Catalogue, *, kind: str, most: int, valid: bool) -> Iterator[Broken]:
    """Yield the manifests, and all that is made of them."""
    budget = Budget(most)
    for obj in manifests():
        if kind and obj["kind"] != kind:
            continue
        yield Broken(f"{label(obj)} as it is", label(obj), obj)
        schema = catalogue.schema(resource_of(catalogue, obj))
        if schema is not None and not valid:
            yield from broken(obj, schema, budget)


async def main() -> None:
    """Compare, and print what differs."""
    parser = argparse.ArgumentParser(prog="python -m tests.real.verdicts")
    parser.add_argument("kubeconfig")
    parser.add_argument("--kind", default="")
    parser.add_argument("--most", type=int, default=1)
    parser.add_argument("--valid", action="store_true")
    arguments = parser.parse_args()
    catalogue = Catalogue(kubernetes())
    access = ClusterAccess.from_kubeconfig(arguments.kubeconfig)
    counted: Counter[str] = Counter()
    async with ObjectClient(access, user_agent="verdicts", retries=0) as client:
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        await raw(client, "POST", "/api/v1/namespaces", body=orjson.dumps(namespace),
                  headers={"Content-Type": "application/json"})  # fmt: skip
        objects = everything(catalogue, kind=arguments.kind, most=arguments.most, valid=arguments.valid)
        async for one in compare(client, catalogue, objects):
            counted["compared"] += 1
            counted["refused by both"] += not one.ours.accepted and not one.real.accepted
            if arguments.valid and not one.real.accepted:
                print(one.kind, one.broken.what, one.ours, one.real)
            if one.real.status == 403:
                counted["left to the member's admission"] += 1
            elif not one.agrees and not is_known(str(one)):
                counted["differ"] += 1
                counted[f"  {'too lax' if one.ours.accepted else 'too strict'}"] += 1
                print(one, flush=True)
    print(", ".join(f"{name.strip()}: {number}" for name, number in counted.items()))


if __name__ == "__main__":
    asyncio.run(main())
