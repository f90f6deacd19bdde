"""Tokens in Secrets: a Secret of type kubernetes.io/service-account-token gets a token of its ServiceAccount.

The token lasts until the Secret or the ServiceAccount is deleted. A Secret that names no ServiceAccount that
there is is deleted, as Kubernetes' tokens controller does.

Next: `hanse_simulator.controllers.loops`, which runs it, and `hanse_simulator.access.accounts`.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Final

from hanse.control import Request
from hanse.kube.engine.served import ObjectChange
from hanse.kube.model.objects import Object, is_deleting, mapping, name_of
from hanse_simulator.access.accounts import ACCOUNT_NAME, SECRET_TYPE, Accounts
from hanse_simulator.controllers.loops import Loop, itself, split
from hanse_simulator.world import SECRETS, SERVICE_ACCOUNTS, ClusterContext

ACCOUNT_UID: Final = "kubernetes.io/service-account.uid"


class TokenSecrets:
    """Fills Secrets with tokens."""

    def __init__(self, world: ClusterContext, accounts: Accounts, *, ca_pem: str) -> None:
        """`ca_pem` is the certificate of the cluster's authority."""
        self._world = world
        self._accounts = accounts
        self._ca_pem = ca_pem

    def loop(self) -> Loop:
        """Return the controller."""
        return Loop("tokens", self, {SECRETS: itself, SERVICE_ACCOUNTS: self._secrets_of}, workers=4)

    async def reconcile(self, request: Request) -> None:
        """Fill a Secret, or delete one that is for no ServiceAccount."""
        await self._world.fresh()
        namespace, name = split(request.key)
        secret = self._world.get(SECRETS, namespace, name)
        if secret is None or secret.get("type") != SECRET_TYPE or is_deleting(secret):
            return
        annotations = mapping(secret, "metadata", "annotations")
        account = self._world.get(SERVICE_ACCOUNTS, namespace, str(annotations.get(ACCOUNT_NAME) or ""))
        uid = account["metadata"]["uid"] if account is not None else ""
        if account is None or annotations.get(ACCOUNT_UID, uid) != uid:
            await self._world.delete(SECRETS, secret)
        elif not mapping(secret, "data").get("token"):
            token = self._accounts.token(account, now=self._world.now(), secret=name)
            values = {"token": token, "ca.crt": self._ca_pem, "namespace": namespace}
            data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}

            def filled(current: Object) -> Object:
                metadata = current["metadata"]
                marked = {**(metadata.get("annotations") or {}), ACCOUNT_UID: uid}
                return {
                    **current,
                    "metadata": {**metadata, "annotations": marked},
                    "data": {**mapping(current, "data"), **data},
                }

            await self._world.modify(SECRETS, secret, filled)

    def _secrets_of(self, change: ObjectChange) -> Iterable[str]:
        """Return the keys of the Secrets that have tokens of a ServiceAccount."""
        namespace, name = change.key.namespace, change.key.name
        for secret in self._world.objects(SECRETS, namespace):
            if mapping(secret, "metadata", "annotations").get(ACCOUNT_NAME) == name:
                yield f"{namespace}/{name_of(secret)}"
