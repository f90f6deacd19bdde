"""What a write and the stored object must agree on."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanse.errors import ConflictError, InvalidArgumentError, UnimplementedError
from hanse.kube.engine.resources import checks, errors
from hanse.kube.kinds.catalogue import Catalogue
from hanse.kube.kinds.strategies.kubernetes import kubernetes
from hanse.kube.model.status import InvalidObjectError
from hanse.store.keys import ObjectKey

CATALOGUE = Catalogue(kubernetes())
CONFIG_MAPS = CATALOGUE.require("", "v1", "configmaps")
NAMESPACES = CATALOGUE.require("", "v1", "namespaces")
KEY = ObjectKey("", "configmaps", "shop", "web")
REVISIONS = st.integers(1, 1 << 40)


def _refused(version: str, revision: int, *, also: frozenset[int] = frozenset()) -> bool:
    try:
        checks.check_version(CONFIG_MAPS, KEY, version=version, revision=revision, served=also.__contains__)
    except ConflictError:
        return True
    return False


@given(held=REVISIONS, stored=REVISIONS, also=st.frozensets(REVISIONS, max_size=3))
def test_versions_are_compared_for_equality(held: int, stored: int, also: frozenset[int]) -> None:
    """The stored version fits, and those under which the same intent was served; nothing older or newer."""
    assert _refused(str(held), stored, also=also) == (held != stored and held not in also)
    assert not _refused(str(stored), stored)
    assert not any(_refused(str(each), stored, also=also) for each in also)
    assert not _refused("", stored, also=also)
    assert not _refused("0", stored, also=also)


@given(held=REVISIONS, stored=REVISIONS)
def test_a_newer_version_conflicts_as_an_older_one_does(held: int, stored: int) -> None:
    """It is of another history, as after a restore: what the client saw is not what is stored."""
    assert _refused(str(stored + held), stored)
    if stored > held:
        assert _refused(str(stored - held), stored)


@pytest.mark.parametrize("version", ["x", "-1", "1.5", "9" * 40])
def test_a_version_that_is_no_number_is_invalid(version: str) -> None:
    """It is 422 with the field, not a conflict; in the preconditions of a delete it is a conflict."""
    with pytest.raises(InvalidObjectError, match="whole number"):
        checks.check_version(CONFIG_MAPS, KEY, version=version, revision=1, served=bool)
    with pytest.raises(
        ConflictError, match=r"in the precondition .* does not match the ResourceVersion in record"
    ):
        checks.check_precondition(CONFIG_MAPS, KEY, version=version, revision=1, served=bool)


@pytest.mark.parametrize("version", ["", "0", "2"])
def test_a_delete_demands_the_version_that_it_names(version: str) -> None:
    """No version is none that is stored: 0 and nothing mean no wish in an update only."""
    with pytest.raises(ConflictError, match=r"in record \(1\)"):
        checks.check_precondition(CONFIG_MAPS, KEY, version=version, revision=1, served={3}.__contains__)
    checks.check_precondition(CONFIG_MAPS, KEY, version="3", revision=1, served={3}.__contains__)


NAMES = st.sampled_from(["", "a", "b"])


@given(in_object=NAMES, in_request=NAMES)
def test_name_and_namespace_of_object_and_request_agree(in_object: str, in_request: str) -> None:
    """Either may name it; both must name the same; one must."""
    obj = {"metadata": {"name": in_object, "namespace": in_object}}
    named = {in_object, in_request} - {""}
    if len(named) == 1:
        (only,) = named
        assert checks.name_of(obj, in_request) == only
        assert checks.namespace_of(CONFIG_MAPS, obj, in_request) == only
        return
    with pytest.raises(InvalidArgumentError):
        checks.name_of(obj, in_request)
    with pytest.raises(InvalidArgumentError):
        checks.namespace_of(CONFIG_MAPS, obj, in_request)


def test_a_cluster_wide_object_has_no_namespace() -> None:
    """One in the request is ignored, as it is no part of the key; one in the object is an error."""
    assert checks.namespace_of(NAMESPACES, {"metadata": {"name": "a"}}, "shop") == ""
    assert checks.key_of(NAMESPACES, "shop", "a").namespace == ""
    with pytest.raises(InvalidArgumentError, match="must not be set"):
        checks.namespace_of(NAMESPACES, {"metadata": {"namespace": "shop"}}, "")


def test_the_kind_is_that_of_the_request() -> None:
    """Another version or kind is refused, and so are metadata that are no map."""
    checks.check_kind(CONFIG_MAPS, {"apiVersion": "v1", "kind": "ConfigMap"})
    for obj in (
        {"apiVersion": "v2", "kind": "ConfigMap"},
        {"apiVersion": "v1", "kind": "Secret"},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": []},
    ):
        with pytest.raises(InvalidArgumentError):
            checks.check_kind(CONFIG_MAPS, obj)


def test_a_resource_without_the_verb_is_read_only() -> None:
    """What is only a view, or has no such verb, is not written."""
    checks.check_writable(CONFIG_MAPS, "create")
    for info in (replace(CONFIG_MAPS, virtual=True), replace(CONFIG_MAPS, verbs=("get", "list"))):
        with pytest.raises(UnimplementedError, match="read-only"):
            checks.check_writable(info, "create")


def test_a_merge_patch_may_carry_an_optimistic_lock() -> None:
    """Its metadata.resourceVersion, if it is a map with one."""
    assert checks.version_of_patch({"metadata": {"resourceVersion": "7"}}) == "7"
    assert checks.version_of_patch({"metadata": None}) == ""
    assert checks.version_of_patch([{"op": "add"}]) == ""


def test_errors_name_the_object_as_kubernetes_does() -> None:
    """The words and details that kubectl and client-go read."""
    found = errors.not_found(CONFIG_MAPS, KEY)
    assert str(found) == 'configmaps "web" not found'
    assert found.metadata == {"name": "web", "group": "", "kind": "configmaps"}
    busy = errors.too_busy(CONFIG_MAPS, KEY, attempts=3)
    assert str(busy).startswith('Operation cannot be fulfilled on configmaps "web": it changed 3 times')
