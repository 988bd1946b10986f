"""docs/configuration.md says every key, its values and its default, and nothing that is not so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from gateway_config.documentation import BEGIN, END, FILES, with_tables
from gateway_config.explain import inner_model

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    yield model
    for field in model.model_fields.values():
        inner, _ = inner_model(field.annotation)
        if inner is not None:
            yield from models(inner)


def test_the_page_is_the_models() -> None:
    """The page has the models' tables; if not, run `python -m gateway_config.documentation docs/configuration.md`."""
    page = PAGE.read_text(encoding="utf-8")
    assert with_tables(page) == page


@pytest.mark.parametrize(("file", "model"), FILES)
def test_every_key_is_described(file: str, model: type[BaseModel]) -> None:
    """Each key of each model has a description, and stands in the page with it."""
    page = PAGE.read_text(encoding="utf-8")
    assert f"### `{file}`" in page
    for part in models(model):
        for name, field in part.model_fields.items():
            assert field.description
            assert any(line.startswith(f"| `{name}` |") and field.description in line for line in page.splitlines())


def test_a_page_without_markers_is_refused() -> None:
    """The writer never overwrites a page that is not made for it."""
    with pytest.raises(ValueError, match="no markers"):
        with_tables("# Something else")
    assert with_tables(f"a\n{BEGIN}{END}\nb").endswith("\nb")
