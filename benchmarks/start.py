"""From the command to the line that says it is ready, as an installed gateway starts: with its modules compiled."""

from __future__ import annotations

import compileall
import re
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from gateway_config.loader import EXAMPLES

STARTS = 9
ROOT = Path(__file__).parents[1]
ROOMS = ("gateway", "codecs", "routes", "config", "simulators")
LIBRARIES = "import fastapi, numpy, pydantic, structlog, typer, uvicorn, uvloop; fastapi.FastAPI()"


def measure(folder: Path) -> tuple[float, float, float, float]:
    """Return the median and the best start, the median of one without a mission database, and the median of importing
    the libraries alone, in seconds, by turns."""
    for room in ROOMS:
        compileall.compile_dir(ROOT / room, quiet=2)  # as pip does
    turns = [(_start(folder / f"start-{k}"), _start(folder / f"bare-{k}", False), _libraries()) for k in range(STARTS)]
    starts, bare, libraries = zip(*turns, strict=True)
    return statistics.median(starts), min(starts), statistics.median(bare), statistics.median(libraries)


def _start(folder: Path, with_database: bool = True) -> float:
    shutil.copytree(str(EXAMPLES / "demo"), folder)
    if not with_database:
        mission = folder / "missions/demo.yaml"
        mission.write_text(re.sub(r"\n +database: .*", "", mission.read_text()))
    command = [sys.executable, "-m", "gateway", "run", "--config", str(folder), "--port", "0"]
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        process.stdout.readline()
        took = time.perf_counter() - began
        process.terminate()
    return took


def _libraries() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", LIBRARIES], check=True)
    return time.perf_counter() - began
