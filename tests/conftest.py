"""What all tests share."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from hypothesis import settings

settings.register_profile("shared machines", deadline=None)  # how long an example takes says nothing there
settings.load_profile("shared machines")
SHARED = Path(__file__).parents[2] / "shared"
RUBBISH_UNITS = int(os.environ.get("GATEWAY_RUBBISH_UNITS", "2000"))
SEEDS = int(os.environ.get("GATEWAY_SEEDS", "200"))
sys.setswitchinterval(0.0005)
