"""The house: rooms, arrows, sizes, and what must not be in the repository (DESIGN 2)."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("codecs", "routes", "config", "simulators")
PACKAGES = ["gateway", *(f"{room}/gateway_{room}" for room in ROOMS)]
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TRACKED = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
TEST_ONLY = {"spacepackets", "hypothesis", "pytest", "async_solipsism", "ccsdspy"}


def test_the_arrows() -> None:
    """Six arrows, no cycle: the import contracts hold."""
    lint = Path(sys.executable).with_name("lint-imports")
    if not lint.exists():
        pytest.skip("import-linter is not installed here")
    done = subprocess.run([str(lint)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_source_roots_are_no_packages() -> None:
    """A package called `codecs` would shadow the standard library's."""
    assert not [room for room in ROOMS if (ROOT / room / "__init__.py").exists()]
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["packages"] == PACKAGES


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module(path: Path) -> None:
    """Each module has a docstring, fewer than 700 lines, functions of at most 60, and no test oracle."""
    text = path.read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "no docstring"
    assert len(text.splitlines()) < 700
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, node.name
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            assert not {name.split(".")[0] for name in names} & TEST_ONLY
            assert not [name for name in names if re.match(r"(codecs|routes|config|simulators)\.gateway_", name)]


def test_no_machine_paths_or_index_addresses() -> None:
    """Nothing in the repository names a machine or a package index."""
    if not TRACKED:
        pytest.skip("this is no git checkout")
    words = ("/" + "work/", "/" + "tmp/solo", "index" + "-url =", "extra" + "-index", "find" + "-links =", "/" + "opt/")
    for name in TRACKED:
        text = (ROOT / name).read_text(errors="replace")
        assert not [word for word in words if word in text], name


def test_every_decision_is_a_page() -> None:
    """Decisions are numbered, short pages."""
    pages = sorted((ROOT / "docs/decisions").glob("[0-9]*.md"))
    assert [int(p.name[:4]) for p in pages] == list(range(1, len(pages) + 1))
    assert all(len(p.read_text().split()) < 400 for p in pages)


def test_the_dockerfile_copies_what_exists() -> None:
    """The Dockerfile names files that are here, and a user that is not root."""
    text = (ROOT / "Dockerfile").read_text()
    for name in re.findall(r"(requirements[a-z-]*\.lock)", text):
        assert (ROOT / name).exists()
    assert "USER gateway" in text
    assert "HEALTHCHECK" in text
