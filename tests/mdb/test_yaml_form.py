"""Our YAML form: what is written is read back as it was, whatever the model can say."""

from __future__ import annotations

from hypothesis import given

from gateway_codecs.mdb import canonical
from gateway_codecs.mdb.model import Database
from gateway_codecs.mdb.yaml_form import read_yaml, write_yaml
from tests.mdb.databases import databases


@given(databases())
def test_any_database_comes_back(database: Database) -> None:
    """A database that is written as YAML and read again is the same, down to its version."""
    text = write_yaml(database)
    again = read_yaml(text.encode(), "x.yaml").database
    assert again == database, text
    assert canonical.digest(again) == canonical.digest(database), text
    assert write_yaml(again) == text
