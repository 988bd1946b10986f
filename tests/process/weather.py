"""Weather made for one process, without rights: see weather.c, which is compiled and preloaded into it."""

from __future__ import annotations

import mmap
import shutil
import struct
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import pytest

S = 1_000_000_000


@cache
def _library() -> tuple[Path | None, str]:
    """Compile once; returns the library, or why there is none."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not sys.platform.startswith("linux") or compiler is None:
        return None, "weather.c needs Linux and a C compiler (apt-get install gcc libc6-dev)"
    library = Path(tempfile.mkdtemp(prefix="weather")) / "weather.so"
    source = Path(__file__).with_name("weather.c")
    command = [compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(source), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (None, f"weather.c cannot be compiled: {done.stderr}") if done.returncode else (library, "")


class Weather:
    """What one process sees of clocks and disk; `prefix` goes before its command. Skips where it cannot be made."""

    def __init__(self, file: Path, folder: Path) -> None:
        library, why = _library()
        if library is None:
            pytest.skip(why)
        self._wall_ns = self._asleep_ns = self._errno = 0
        file.write_bytes(bytes(24))
        with file.open("r+b") as opened:
            self._seen = mmap.mmap(opened.fileno(), 24)
        self.prefix = ["env", f"LD_PRELOAD={library}", f"WEATHER_FILE={file}", f"WEATHER_FOLDER={folder}/"]

    def _show(self) -> None:
        self._seen[:] = struct.pack("3q", self._wall_ns, self._asleep_ns, self._errno)

    def set_clock(self, ahead_s: float) -> None:
        """Set the wall clock so far ahead of the true one."""
        self._wall_ns = int(ahead_s * S)
        self._show()

    def sleep(self, more_s: float) -> None:
        """The machine sleeps and wakes: the wall clock and the time since boot move on, monotonic time does not."""
        self._asleep_ns += int(more_s * S)
        self._show()

    def disk_refuses(self, error: int) -> None:
        """All that would change the folder fails with this error number; 0 ends it."""
        self._errno = error
        self._show()
