"""What happened to a database file: each change is told once, however soon the next one follows."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.values.files import DatabaseFile, fingerprint


@pytest.fixture
def file(tmp_path: Path) -> DatabaseFile:
    path = tmp_path / "x.json"
    path.write_text("{}")
    return DatabaseFile("picard", path, fingerprint(path), "0123456789abcdef")


def test_each_change_is_told_at_the_look_that_finds_it(file: DatabaseFile) -> None:
    """Issue: a database file that changes, vanishes and comes back is told at each step, once, without any waiting."""
    looks = [fingerprint(file.path), (), (), (("x.json", 1, 2, 3),), fingerprint(file.path), fingerprint(file.path)]
    words = ["", "is not there any more", "", "was changed", "is again what was read", ""]
    told = [file.look(now) for now in looks]
    for word, text in zip(words, told, strict=True):
        assert (word in text) if word else (text == "")
        assert not text or (str(file.path) in text and "version 0123456789ab" in text)
    assert file.condition() is None


def test_a_refusal_does_not_hide_what_happens_next(file: DatabaseFile) -> None:
    """Issue: the condition is the refusal, while the file that vanished after it is still told."""
    file.refused = "x.json:1: no value"
    assert "is not there any more" in file.look(())
    condition = file.condition()
    assert condition is not None
    assert (condition.severity, condition.told) == ("error", True)
    assert "x.json:1" in condition.text
