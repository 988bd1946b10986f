"""A foreign client that reads the OpenAPI document and tries everything in it, on a gateway with live values."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.process.running import Daemon, until
from tests.process.test_values import daemon, latest

__all__ = ["daemon"]
pytestmark = pytest.mark.process
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


@pytest.mark.skipif(find_spec("schemathesis") is None, reason="schemathesis is not installed (make .venv/dev)")
@pytest.mark.parametrize("examples", [3, pytest.param(100, marks=pytest.mark.soak)])
def test_no_server_error_and_no_undocumented_answer(daemon: Daemon, tmp_path: Path, examples: int) -> None:
    """Issue: schemathesis finds no server error and no undocumented answer in the whole OpenAPI document."""
    until(lambda: latest(daemon) is not None, "a live value came")
    # one worker: where two threads parse, CPython 3.11 mistakes the depth of ast.parse, which the client uses
    done = subprocess.run(
        [
            sys.executable, "-W", "ignore", "-m", "schemathesis.cli", "run", f"{daemon.url}/api/v1/openapi.json",
            "--checks", CHECKS, "--max-examples", str(examples), "--phases", "coverage,fuzzing",
            "--seed", "4", "--workers", "1", "--continue-on-failure", "--no-color", "--warnings", "off",
            "--suppress-health-check", "all",
        ],
        check=False, capture_output=True, text=True, timeout=1200, cwd=tmp_path,
        env={**os.environ, "NO_PROXY": "127.0.0.1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    selected = re.search(r"Selected: (\d+)/(\d+)\s+Tested: (\d+)", done.stdout)
    assert selected is not None, done.stdout
    assert len({*selected.groups()}) == 1, "every operation is tried"
    assert daemon.process is not None
    assert daemon.process.poll() is None
    assert "Traceback" not in daemon.output()
