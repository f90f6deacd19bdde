"""Makes etcd keep to the table of rights: a user and a role per service, and authentication switched on.

Owns `Roles`. The users have no password: etcd takes the common name of the client's certificate for the user
(`--client-cert-auth`), and refuses whoever it does not know. Only the holder of root's certificate may change
users and roles. `python -m hanse.store.admin.roles` shows the table, applies it to an etcd, and checks it.

Concurrency: a few calls one after the other; nothing is kept. Running it twice is harmless, and what is right
already is not written, because each change of a right makes requests in flight start again.

Next: `hanse.store.rights`, the table.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

from etcd3aio import _protobuf as pb

from hanse.errors import ConfigError, HanseError
from hanse.process.settings import TlsFiles
from hanse.security.auth import service_name
from hanse.store.etcd.channel import DEFAULT_OPERATION_TIMEOUT, EtcdChannel, open_channel
from hanse.store.rights import RIGHTS, Kind, Permission, permissions, table

ROOT: Final = "root"
"""Name of etcd's own administrator: its user and its role. Its certificate's common name is this."""

_KINDS: Final[Mapping[Kind, int]] = {
    "read": pb.Permission.READ,
    "write": pb.Permission.WRITE,
    "readwrite": pb.Permission.READWRITE,
}
_NAMES: Final[Mapping[int, Kind]] = {number: kind for kind, number in _KINDS.items()}


def role_name(service: str, *, prefix: str) -> str:
    """Return the name of a service's role; federations that share an etcd have roles of their own."""
    return f"hanse:{service}@{prefix.rstrip('/')}"


_FEDERATIONS: Final = re.compile(r"hanse:[a-z]+@.*")
"""Names of roles of services, of this federation or of another one."""


def check_users(users: Mapping[str, str]) -> None:
    """Raise ConfigError unless each service, with these names for some, is a user of its own."""
    names = [users.get(service) or service_name(service) for service in RIGHTS]
    shared = sorted({name for name in names if names.count(name) > 1 or name == ROOT})
    if shared:
        raise ConfigError(
            f"{shared[0]} cannot be the user of a service: each needs one of its own, and {ROOT} is none"
        )


class Roles:
    """The users and roles of an etcd, for its administrator. Make it with `await Roles.connect(...)`."""

    def __init__(self, channel: EtcdChannel, *, prefix: str) -> None:
        self._channel = channel
        self._prefix = prefix
        self._ours = frozenset(role_name(service, prefix=prefix) for service in RIGHTS)

    @classmethod
    async def connect(cls, endpoints: Sequence[str], *, prefix: str, tls: TlsFiles | None) -> Self:
        """Return the roles of the federation with `prefix`. `tls` has the certificate of `root`."""
        channel = await open_channel(
            endpoints, tls=tls, tls_server_name=None, timeout=DEFAULT_OPERATION_TIMEOUT
        )
        return cls(channel, prefix=prefix)

    async def apply(self, users: Mapping[str, str] | None = None) -> bool:
        """Make users, roles and authentication what the table says; return whether anything was changed.

        `users` maps services to the common names of their certificates for etcd, where they differ from
        `hanse:service:<name>`. Raises PermissionDeniedError if we are not root, UnavailableError, and
        ConfigError if two services are one user.
        """
        names = {service: (users or {}).get(service) or service_name(service) for service in RIGHTS}
        check_users(names)
        changed = await self._user(ROOT, ROOT)
        for service, user in names.items():
            role = role_name(service, prefix=self._prefix)
            changed |= await self._role(role, permissions(service, prefix=self._prefix))
            changed |= await self._user(user, role)
        changed |= await self._take_from_others({ROOT, *names.values()})
        return await self._enable() or changed

    async def disable(self) -> None:
        """Switch authentication off; users and roles stay."""
        await self._call(self._channel.auth.AuthDisable, pb.AuthDisableRequest(), what="switch rights off")

    async def permissions(self, service: str) -> frozenset[Permission]:
        """Return what etcd lets the role of a service do. Raises HanseError if there is no such role."""
        return await self._permissions(role_name(service, prefix=self._prefix))

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()

    async def _permissions(self, role: str) -> frozenset[Permission]:
        found = await self._call(
            self._channel.auth.RoleGet, pb.AuthRoleGetRequest(role=role), what=f"read role {role}"
        )
        return frozenset(Permission(each.key, each.range_end, _NAMES[each.permType]) for each in found.perm)

    async def _role(self, role: str, wanted: frozenset[Permission]) -> bool:
        added = await self._add(
            self._channel.auth.RoleAdd, pb.AuthRoleAddRequest(name=role), what=f"add role {role}"
        )
        there = await self._permissions(role)
        ranges = {(each.key, each.range_end) for each in wanted}
        for each in sorted(there):
            if (each.key, each.range_end) not in ranges:
                revoked = pb.AuthRoleRevokePermissionRequest(
                    role=role, key=each.key, range_end=each.range_end
                )
                await self._call(self._channel.auth.RoleRevokePermission, revoked, what=f"narrow role {role}")
        for each in sorted(wanted - there):
            granted = pb.Permission(key=each.key, range_end=each.range_end, permType=_KINDS[each.kind])
            await self._call(
                self._channel.auth.RoleGrantPermission,
                pb.AuthRoleGrantPermissionRequest(name=role, perm=granted),
                what=f"widen role {role}",
            )
        return added or there != wanted

    async def _user(self, user: str, role: str) -> bool:
        """Make sure that there is `user`, with `role`, and with no other but those of other federations."""
        request = pb.AuthUserAddRequest(name=user, options=pb.UserAddOptions(no_password=True))
        added = await self._add(self._channel.auth.UserAdd, request, what=f"add user {user}")
        if role == ROOT:
            await self._add(
                self._channel.auth.RoleAdd, pb.AuthRoleAddRequest(name=ROOT), what=f"add role {ROOT}"
            )
        roles = await self._roles_of(user)
        wrong = {each for each in roles if each in self._ours or not _FEDERATIONS.fullmatch(each)} - {role}
        if role != ROOT and await self._take(user, wrong):
            added = True
        if role in roles:
            return added
        granted = pb.AuthUserGrantRoleRequest(user=user, role=role)
        await self._call(self._channel.auth.UserGrantRole, granted, what=f"give {role} to {user}")
        return True

    async def _take_from_others(self, users: Collection[str]) -> bool:
        """Take this federation's roles from whoever is none of `users`; return whether any had one."""
        found = await self._call(
            self._channel.auth.UserList, pb.AuthUserListRequest(), what="read who the users are"
        )
        taken = False
        for user in sorted(set(found.users).difference(users)):
            taken |= await self._take(user, self._ours.intersection(await self._roles_of(user)))
        return taken

    async def _roles_of(self, user: str) -> frozenset[str]:
        found = await self._call(
            self._channel.auth.UserGet, pb.AuthUserGetRequest(name=user), what=f"read user {user}"
        )
        return frozenset(found.roles)

    async def _take(self, user: str, roles: Iterable[str]) -> bool:
        taken = False
        for role in sorted(roles):
            revoked = pb.AuthUserRevokeRoleRequest(name=user, role=role)
            await self._call(self._channel.auth.UserRevokeRole, revoked, what=f"take {role} from {user}")
            taken = True
        return taken

    async def _enable(self) -> bool:
        status = await self._call(
            self._channel.auth.AuthStatus, pb.AuthStatusRequest(), what="read whether rights are on"
        )
        if status.enabled:
            return False
        await self._call(self._channel.auth.AuthEnable, pb.AuthEnableRequest(), what="switch rights on")
        return True

    async def _add(self, method: Any, request: Any, *, what: str) -> bool:
        try:
            await self._call(method, request, what=what)
        except HanseError as error:
            if "already exists" not in error.message:
                raise
            return False
        return True

    async def _call(self, method: Any, request: Any, *, what: str) -> Any:
        return (await self._channel.call(method, request, what=what, repeatable=True))[0]


def main(argv: Sequence[str] | None = None) -> int:
    """Run `python -m hanse.store.admin.roles`; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m hanse.store.admin.roles",
        description="Give each service of a federation its rights in an etcd, and no others. Without "
        "--endpoints, only show what they are.",
    )
    parser.add_argument("--endpoints", metavar="HOST:PORT,...", help="endpoints of the etcd")
    parser.add_argument("--prefix", default="/hanse", help="setting etcd_prefix [default: %(default)s]")
    parser.add_argument("--ca", type=Path, metavar="FILE", help="authority of the etcd")
    parser.add_argument("--cert", type=Path, metavar="FILE", help="certificate with the common name root")
    parser.add_argument("--key", type=Path, metavar="FILE", help="key of --cert")
    parser.add_argument(
        "--user",
        action="append",
        default=[],
        metavar="SERVICE=NAME",
        help="common name of a service's certificate for etcd, if it is not hanse:service:SERVICE",
    )
    parser.add_argument("--disable", action="store_true", help="switch rights off; users and roles stay")
    given = parser.parse_args(argv)
    try:
        if not given.endpoints:
            for service, reads, writes in table():
                sys.stdout.write(f"{service}\n  reads   {reads}\n  writes  {writes}\n".replace("`", ""))
            return 0
        sys.stdout.write(f"{asyncio.run(_administer(given, _users(given.user)))}\n")
    except HanseError as error:
        sys.stderr.write(f"{error.message}\n")
        return 2 if isinstance(error, ConfigError) else 1
    return 0


def _users(given: Sequence[str]) -> dict[str, str]:
    users: dict[str, str] = {}
    for each in given:
        service, separator, name = each.partition("=")
        if not separator or not name or service not in RIGHTS:
            raise ConfigError(f"--user {each} must be SERVICE=NAME, with a service of {', '.join(RIGHTS)}")
        users[service] = name
    check_users(users)
    return users


async def _administer(given: argparse.Namespace, users: Mapping[str, str]) -> str:
    if not (given.ca and given.cert and given.key):
        raise ConfigError("give --ca, --cert and --key: etcd knows who calls by the certificate only")
    tls = TlsFiles(given.ca, given.cert, given.key)
    roles = await Roles.connect(given.endpoints.split(","), prefix=given.prefix, tls=tls)
    try:
        if given.disable:
            await roles.disable()
            return "rights are switched off: every certificate of etcd's authority may do everything"
        changed = await roles.apply(users)
        return "rights were changed" if changed else "rights are as they should be"
    finally:
        await roles.close()


if __name__ == "__main__":
    sys.exit(main())
