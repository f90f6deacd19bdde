"""What Kubernetes allows as a name, a label, an annotation key: pure checks with Kubernetes' messages.

Every check returns the list of problems, empty if the value is fine. Safe from any task.

Next: `selectors` and `hanse.kube.validation.objects`.
"""

from __future__ import annotations

import re
from ipaddress import ip_address

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LABEL_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_CONFIG_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_PORT_NAME = re.compile(r"[-a-z0-9]+")
_ENV_NAME = re.compile(r"[ -<>-~]+")

SUBDOMAIN_MESSAGE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and "
    "must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation "
    r"is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
LABEL_MESSAGE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start "
    "and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
LABEL_1035_MESSAGE = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
    "character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for "
    "validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
)
QUALIFIED_MESSAGE = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
VALUE_MESSAGE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used "
    "for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
CONFIG_KEY_MESSAGE = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or "
    "'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)


_HOPELESS = 8
"""A value of so many times its limit is only too long: what else is wrong with it is not looked for."""


def _too_long(limit: int) -> str:
    return f"must be no more than {limit} characters"


def _problems(value: str, limit: int, pattern: re.Pattern[str], message: str) -> list[str]:
    out = [_too_long(limit)] if len(value) > limit else []
    return out if len(value) > _HOPELESS * limit or pattern.fullmatch(value) else [*out, message]


def subdomain_problems(value: str) -> list[str]:
    """Problems of a DNS-1123 subdomain: what most objects' names must be."""
    return _problems(value, 253, _SUBDOMAIN, SUBDOMAIN_MESSAGE)


def label_problems(value: str) -> list[str]:
    """Problems of a DNS-1123 label: what names of namespaces and containers must be."""
    return _problems(value, 63, _LABEL, LABEL_MESSAGE)


def label_1035_problems(value: str) -> list[str]:
    """Problems of a DNS-1035 label: what names of Services must be."""
    return _problems(value, 63, _LABEL_1035, LABEL_1035_MESSAGE)


def path_segment_problems(value: str) -> list[str]:
    """Problems of a name that only has to fit into a URL path: RBAC objects' names."""
    if value in (".", ".."):
        return [f"may not be '{value}'"]
    return [f"may not contain '{char}'" for char in "/%" if char in value]


def address_problems(value: str) -> list[str]:
    """Return what is wrong with an IP address as a name: it must be in its canonical form."""
    try:
        canonical = str(ip_address(value))
    except ValueError:
        if re.fullmatch(r"[0-9.]+", value) and re.search(r"(^|\.)0[0-9]", value):
            return ["must not have leading 0s"]
        return ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]
    return [] if canonical == value else [f'must be in canonical form ("{canonical}")']


def qualified_name_problems(value: str) -> list[str]:
    """Problems of a label key or annotation key: [prefix/]name."""
    prefix, slash, name = value.rpartition("/")
    out: list[str] = []
    if "/" in prefix:
        return [
            "a qualified name "
            + QUALIFIED_MESSAGE.removeprefix("name part ")
            + " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        ]
    if slash:
        if not prefix:
            out.append("prefix part must be non-empty")
        else:
            out += [f"prefix part {problem}" for problem in subdomain_problems(prefix)]
    if not name:
        out.append("name part must be non-empty")
    elif len(name) > 63:
        out.append("name part " + _too_long(63))
    if len(name) <= _HOPELESS * 63 and not _QUALIFIED.fullmatch(name):
        out.append(QUALIFIED_MESSAGE)
    return out


def label_value_problems(value: str) -> list[str]:
    """Problems of a label value."""
    return _problems(value, 63, _VALUE, VALUE_MESSAGE)


def config_key_problems(value: str) -> list[str]:
    """Problems of a key of a ConfigMap or Secret."""
    out = [_too_long(253)] if len(value) > 253 else []
    if len(value) <= _HOPELESS * 253 and not _CONFIG_KEY.fullmatch(value):
        out.append(CONFIG_KEY_MESSAGE)
    if value == ".":
        out.append("must not be '.'")
    elif value.startswith(".."):
        out.append("must not be '..'" if value == ".." else "must not start with '..'")
    return out


def port_name_problems(value: str) -> list[str]:
    """Problems of the name of a container's port (an IANA service name)."""
    out: list[str] = []
    if len(value) > 15:
        out.append(_too_long(15))
    if not _PORT_NAME.fullmatch(value):
        out.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not any("a" <= char <= "z" for char in value):
        out.append("must contain at least one letter (a-z)")
    if "--" in value:
        out.append("must not contain consecutive hyphens")
    if value.startswith("-") or value.endswith("-"):
        out.append("must not begin or end with a hyphen")
    return out


def env_name_problems(value: str) -> list[str]:
    """Problems of the name of an environment variable."""
    if _ENV_NAME.fullmatch(value):
        return []
    return [
        "a valid environment variable name must consist only of printable ASCII characters other than '='"
    ]
