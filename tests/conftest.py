"""What all tests share."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from hypothesis import settings

# How long an example takes says nothing on shared machines. `make test` draws the same examples each time: a red run
# says that the change is at fault. `make soak` draws new ones each time, and many more.
settings.register_profile("same each time", deadline=None, derandomize=True, max_examples=50)
settings.register_profile("new each time", deadline=None, max_examples=500)
settings.load_profile("new each time" if os.environ.get("GATEWAY_SOAK") else "same each time")
# The gateways of tests leave their operators' tokens where no other gateway of this user looks.
os.environ["XDG_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="gateway-tests-")
atexit.register(shutil.rmtree, os.environ["XDG_RUNTIME_DIR"], ignore_errors=True)
# A shell that starts us in the background has interrupts ignored, and what we start inherits that: Ctrl-C is tested.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
SHARED = Path(__file__).parents[2] / "shared"
RUBBISH_UNITS = int(os.environ.get("GATEWAY_RUBBISH_UNITS", "1000"))
SEEDS = int(os.environ.get("GATEWAY_SEEDS", "100"))
WORLDS = SEEDS // 2 if SEEDS > 100 else 30  # a whole world takes half a second
HOMES_WORLDS = max(WORLDS, 200)  # a quarter
sys.setswitchinterval(0.0005)
