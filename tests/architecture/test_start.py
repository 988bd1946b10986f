"""What a start imports: only what the configuration has use of (DESIGN 7: start < 1 s), and what clients import."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import asyncio, pathlib, shutil, sys, tempfile
import gateway.console.app, gateway.console.run, gateway.daemon
from gateway.api.app import build_app
from gateway.service import Gateway
from gateway_config import load
from gateway_config.loader import EXAMPLES
from tests.home_files import opened

async def start(folder):
    shutil.copytree(str(EXAMPLES / "demo"), folder)
    service = Gateway(opened(load(folder)))
    build_app(service)
    await service.start()
    print(*sys.modules)
    await service.drain()
    await service.stop()

with tempfile.TemporaryDirectory() as folder:
    asyncio.run(start(pathlib.Path(folder) / "configuration"))
"""
NOT_NEEDED = (
    "aiomqtt", "gateway.api.answers", "gateway.api.document", "gateway.api.metrics", "gateway.api.models",
    "gateway.homes.client", "gateway.mqtt", "gateway_codecs.cadu_intake", "gateway_codecs.cadus",
    "gateway_codecs.hints", "gateway_codecs.kiss", "gateway_codecs.probe", "gateway_codecs.reed_solomon",
    "gateway_codecs.synchroniser", "gateway_codecs.uslp_intake", "gateway_simulators", "prometheus_client",
    "gateway.values.service", "gateway.databases", "gateway_codecs.mdb",
)  # fmt: skip


def test_a_gateway_of_tm_frames_starts_without_the_rest() -> None:
    """No decoder of CADUs, USLP or KISS, no MQTT, no metrics, no models of answers: they come when they are used."""
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=60, check=True)
    imported = set(done.stdout.split())
    assert "gateway_codecs.intake" in imported
    assert not imported.intersection(NOT_NEEDED)


def test_who_only_asks_a_gateway_imports_no_gateway() -> None:
    """Commands that talk to a running gateway start without the server, its journal, and the models of its files."""
    code = "import sys, gateway.console.subscribe, gateway.console.live, gateway.console.homes; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert not {"fastapi", "structlog", "gateway.service", "gateway.journal", "gateway_config"} & {*done.stdout.split()}
