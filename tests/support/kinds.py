"""The strategy of an object's kind, as the federation's API server has it."""

from __future__ import annotations

from hanse.federation.strategies import federation_kinds
from hanse.kube.kinds.strategy import NO_STRATEGY, Strategy
from hanse.kube.model.objects import Object, gvk_of

KINDS = federation_kinds()


def strategy_of(obj: Object) -> Strategy:
    """Return the strategy of the kind that an object carries; that of custom resources for any other."""
    gvk = gvk_of(obj)
    kind = KINDS.by_kind(gvk.group, gvk.kind)
    return KINDS.strategy(kind) if kind is not None else NO_STRATEGY
