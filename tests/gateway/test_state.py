"""The journal's state patches."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.journal.state import merge

# keys of one letter hold values, keys of two letters hold dictionaries
leaves = st.dictionaries(
    st.sampled_from("abc"), st.none() | st.integers(0, 3) | st.lists(st.integers(0, 3), max_size=2)
)


def nested(depth: int) -> Any:
    """A state or patch with dictionaries down to `depth`."""
    if depth == 0:
        return leaves
    inner = st.dictionaries(st.sampled_from(["xx", "yy"]), nested(depth - 1))
    return st.tuples(leaves, inner).map(lambda pair: {**pair[0], **pair[1]})


@given(nested(2), nested(2), nested(2))
def test_a_group_of_patches_does_what_its_patches_do(state: Any, first: Any, second: Any) -> None:
    """Group commit: the patches of a group merged into one do what each of them in turn would do."""
    assert merge(state, merge(first, second)) == merge(merge(state, first), second)


def test_null_replaces() -> None:
    """A packet that is no longer open must not stay open because another patch came first in the group."""
    group = merge({"open": [1]}, {"open": None})
    assert merge({"open": [0]}, group) == {"open": None}
