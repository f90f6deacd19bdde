"""Page tokens, field masks and etags, as servicers use them."""

from __future__ import annotations

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.field_mask_pb2 import FieldMask
from hypothesis import given
from hypothesis import strategies as st

from hanse.api.registry.v1 import cluster_pb2
from hanse.errors import (
    ConflictError,
    InvalidArgumentError,
)
from hanse.rpc.etags import check_etag, etag_of
from hanse.rpc.lists.pagination import PageToken, decode_page_token, encode_page_token, page_size
from hanse.rpc.masks import apply_update, project

# --- pages ---


@given(st.integers(min_value=0, max_value=2**62), st.text(), st.text())
def test_a_page_token_comes_back_as_it_was(revision: int, key: str, scope: str) -> None:
    """Encoding and decoding are inverse for every key and scope."""
    token = PageToken(revision, key)
    assert decode_page_token(encode_page_token(token, scope=scope), scope=scope) == token


@given(st.text(min_size=1))
def test_a_forged_page_token_is_an_invalid_argument(text: str) -> None:
    """No text makes anything but InvalidArgumentError."""
    with pytest.raises(InvalidArgumentError, match="list again"):
        decode_page_token(text, scope="x")


def test_a_page_token_of_another_query_is_refused() -> None:
    """AIP-158: all other arguments must stay the same."""
    token = encode_page_token(PageToken(1, "a"), scope="filter=a")
    with pytest.raises(InvalidArgumentError, match="other arguments"):
        decode_page_token(token, scope="filter=b")
    assert decode_page_token("", scope="x") is None


def test_page_sizes_are_bounded() -> None:
    """0 is the default, too many is the maximum, negative is refused."""
    assert [page_size(0), page_size(7), page_size(10**6)] == [100, 7, 1000]
    with pytest.raises(InvalidArgumentError):
        page_size(-1)


# --- masks and etags ---

File = descriptor_pb2.FileDescriptorProto


def test_a_mask_changes_what_it_names_and_nothing_else() -> None:
    """Nested paths, whole lists, cleared fields."""
    current = File(
        name="a", package="p", dependency=["x"], options=descriptor_pb2.FileOptions(go_package="g")
    )
    update = File(name="b", dependency=["y", "z"], options=descriptor_pb2.FileOptions(java_package="j"))
    result = apply_update(current, update, FieldMask(paths=["dependency", "options.java_package", "package"]))
    assert (result.name, list(result.dependency), result.HasField("package")) == ("a", ["y", "z"], False)
    assert (result.options.go_package, result.options.java_package) == ("g", "j")
    assert current.package == "p"


def test_an_empty_mask_means_what_is_set_and_a_star_means_everything() -> None:
    """AIP-134."""
    current = File(name="a", package="p")
    assert apply_update(current, File(name="b")) == File(name="b", package="p")
    assert apply_update(current, File(name="b"), FieldMask(paths=["*"])) == File(name="b")


@pytest.mark.parametrize("path", ["nope", "options.nope", "dependency.x", "name.x", "", "message_type.name"])
def test_an_unknown_path_is_named(path: str) -> None:
    """The error names the path."""
    with pytest.raises(InvalidArgumentError, match="field mask path"):
        apply_update(File(), File(), FieldMask(paths=[path]))


def test_output_only_fields_stay_and_identifiers_cannot_change() -> None:
    """As the descriptor of Cluster annotates them."""
    current = cluster_pb2.Cluster(name="clusters/a", uid="1", state=cluster_pb2.READY, region="old")
    update = cluster_pb2.Cluster(uid="2", state=cluster_pb2.OFFLINE, region="new", server="other")
    assert apply_update(current, update) == cluster_pb2.Cluster(
        name="clusters/a", uid="1", state=cluster_pb2.READY, region="new"
    )
    with pytest.raises(InvalidArgumentError, match="field name of Cluster cannot be changed"):
        apply_update(current, cluster_pb2.Cluster(name="clusters/b"), FieldMask(paths=["name"]))


def test_project_keeps_only_the_mask() -> None:
    """AIP-157."""
    message = File(name="a", package="p")
    assert project(message, FieldMask(paths=["name"])) == File(name="a")
    assert project(message, None) is message


def test_an_old_etag_is_a_conflict() -> None:
    """AIP-154; no etag always agrees."""
    check_etag("", 5, name="clusters/a")
    check_etag(etag_of(5), 5, name="clusters/a")
    with pytest.raises(ConflictError, match="clusters/a has changed"):
        check_etag(etag_of(4), 5, name="clusters/a")
