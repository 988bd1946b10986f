"""The real disk: what is made is durable, level by level (R4)."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.real import LocalStorage


@pytest.fixture
def forced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders that were forced, in order."""
    folders: list[Path] = []
    monkeypatch.setattr("gateway.real._sync_folder", lambda folder, opener: folders.append(folder))
    return folders


def test_each_new_folder_is_durable(tmp_path: Path, forced: list[Path]) -> None:
    """The entry of every new folder is forced, from the data directory's own on."""
    root = tmp_path / "new" / "data"
    storage = LocalStorage(root, lock=True)
    assert {tmp_path, tmp_path / "new"} <= set(forced)
    storage.open_append("m/journal/00000001.seg").close()
    assert {root, root / "m", root / "m/journal"} <= set(forced)
    forced.clear()
    storage.open_append("m/journal/00000002.seg").close()
    assert forced == [root / "m/journal"]
    storage.write_whole("other/about.json", b"{}")
    assert forced[1:] == [root, root / "other"]
    storage.close()


def test_a_crash_before_the_folder_was_forced_is_repaired(tmp_path: Path, forced: list[Path]) -> None:
    """A file that is there already may be known to memory only: its folder is forced when it is first opened."""
    LocalStorage(tmp_path).open_append("m/journal/00000001.seg").close()
    forced.clear()
    again = LocalStorage(tmp_path)
    again.open_append("m/journal/00000001.seg").close()
    assert forced == [tmp_path, tmp_path / "m", tmp_path / "m/journal"]
    again.open_append("m/journal/00000001.seg").close()
    assert len(forced) == 3
