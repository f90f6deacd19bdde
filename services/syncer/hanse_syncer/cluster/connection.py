"""One connection to one member, and everything that works over it.

Owns `MemberConnection`, a value: the session, the reconcile context that belongs to it, and the reconciler.
It is made again for every credential, so nothing that was learned by one connection is believed by the next.

Next: `hanse_syncer.cluster.connector`, which keeps one open.
"""

from __future__ import annotations

from dataclasses import dataclass

from hanse_syncer.act.context import ReconcileContext
from hanse_syncer.act.reconciler import ObjectReconciler
from hanse_syncer.member.session import MemberSession


@dataclass(frozen=True, slots=True)
class MemberConnection:
    """A session with what was made for it."""

    session: MemberSession
    context: ReconcileContext
    reconciler: ObjectReconciler
