"""The journal's state patches."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.journal.state import compose, merge

keys = st.sampled_from("abc")
states = st.recursive(st.integers(0, 3), lambda c: st.dictionaries(keys, c, max_size=3), max_leaves=6)
patches = st.recursive(st.none() | st.integers(0, 3), lambda c: st.dictionaries(keys, c, max_size=3), max_leaves=6)


@given(st.dictionaries(keys, states), st.dictionaries(keys, patches), st.dictionaries(keys, patches))
def test_a_group_of_patches_does_what_its_patches_do(state: dict, first: dict, second: dict) -> None:  # type: ignore[type-arg]
    """Group commit: the composed patch, applied once, is each patch applied in turn (a null must not get lost)."""
    assert merge(state, compose(first, second)) == merge(merge(state, first), second)
