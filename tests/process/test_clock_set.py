"""The wall clock of a real gateway process is set by a day, in both directions, while it works (R11)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway_codecs.time_scales import parse_utc

from .brokers import Broker, connected, needs
from .running import Daemon, ended, free_port, http, until
from .test_bad_weather import INSTANCE, Home, Station, condition, events, metric, running
from .test_door import minimal
from .test_exactness import HERA, assert_exact, hera_config
from .test_mqtt import INSTANCE as HERA_INSTANCE
from .test_mqtt import acknowledged, home_base
from .weather import Weather

pytestmark = pytest.mark.process
DAY_S = 86_400


def stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def plan(daemon: Daemon, begins_s: float, ends_s: float) -> str:
    """Plan a contact by the true clock; returns its number."""
    now = datetime.now(UTC)
    body = {"spacecraft": "picard", "peer": "kiruna"}
    body |= {f"{end}_utc": stamp(now + timedelta(seconds=s)) for end, s in (("aos", begins_s), ("los", ends_s))}
    answer = http.post(f"{daemon.url}/api/v1/instances/{INSTANCE}/contacts", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def states(daemon: Daemon, *contacts: str) -> list[str]:
    rows = {row["id"]: row["state"] for row in daemon.get("/contacts")}
    return [rows[contact] for contact in contacts]


def said_ahead_s(daemon: Daemon) -> float:
    """How far the gateway's own clock is ahead of the true one."""
    return (parse_utc(daemon.get("/status")["time_utc"]) - parse_utc(stamp(datetime.now(UTC)))) / 1e9


def link(daemon: Daemon) -> dict[str, Any]:
    return dict(daemon.get("/links")[0])


def told_now(daemon: Daemon) -> str:
    return str((condition(daemon, "clock step") or {}).get("text"))


def told_states(daemon: Daemon) -> list[str]:
    return [row["state"] for row in events(daemon) if row.get("condition") == "clock step"]


def goes_on(daemon: Daemon, homes: list[Home]) -> None:
    """Journal and listeners go on at once, and steadily."""
    for home in homes:
        home.slowest_s, had = 0.0, home.items
        until(lambda home=home, had=had: home.items > had + 100, "delivery goes on")  # type: ignore[misc]
    assert max(home.slowest_s for home in homes) < 30, "nobody waits for a clock"
    assert link(daemon)["state"] == "receiving"


def once_in_order(home: Home) -> None:
    first = home.positions[0]
    assert home.positions == list(range(first, first + len(home.positions))), "every position once, in order"


def test_a_clock_that_is_set_by_a_day(tmp_path: Path) -> None:
    """R11: a day ahead, a day behind: told with its size; order, delivery, timers, contacts, segments as ever."""
    port = free_port()
    config = minimal(tmp_path, port, watchdog_s=2)
    weather = Weather(tmp_path / "weather", tmp_path / "var")
    daemon = Daemon(config, prefix=weather.prefix)
    segments = tmp_path / "var" / INSTANCE / "journal"
    with running(daemon), Station(port, 200) as station:
        with Home(daemon, "all", "complete") as complete, Home(daemon, "now", "timely") as timely:
            homes = [complete, timely]
            now, later = plan(daemon, -60, 3600), plan(daemon, 7200, 9000)
            until(lambda: states(daemon, now, later) == ["active", "planned"])
            for steps, ahead_s in enumerate((DAY_S, -DAY_S), 1):
                weather.set_clock(ahead_s)
                size = f"by {ahead_s:+d} s ({ahead_s / DAY_S:+.2f} days) in all"
                until(lambda size=size: size in told_now(daemon), "it is told")  # type: ignore[misc]
                assert metric(daemon, "gateway_clock_steps_total") == steps
                assert said_ahead_s(daemon) == pytest.approx(ahead_s, abs=30), "what is stamped follows the wall clock"
                goes_on(daemon, homes)
                assert states(daemon, now, later) == ["active", "planned"]
            assert len(list(segments.glob("*.seg"))) == 1, "a step is no new day"
            station.pause()
            until(lambda: link(daemon)["state"] != "receiving", "the watchdog knows no wall clock (R10)")
            station.go_on()
            goes_on(daemon, homes)
            midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0) + timedelta(days=1)
            weather.sleep((midnight - datetime.now(UTC)).total_seconds() + 9000)
            until(lambda: len(list(segments.glob("*.seg"))) == 2, "a day that passes ends a segment")
            until(lambda: states(daemon, now, later) == ["done", "missed"], "and contacts")
            weather.set_clock(0)
            until(lambda: condition(daemon, "clock stepped"), "set back, it is over")
            assert metric(daemon, "gateway_clock_steps_total") == 3, "to sleep is no step"
            goes_on(daemon, homes)
        once_in_order(complete)
        until(lambda: told_states(daemon) == ["begun", "ended"], "each is an event")
        assert len(list(segments.glob("*.seg"))) == 2


@pytest.mark.soak
@pytest.mark.skipif(not HERA.exists(), reason="the shared recordings are not beside the checkout")
def test_a_gateway_that_starts_again_by_another_clock(tmp_path: Path) -> None:
    """R4, R11: the clock is set while a home base listens over MQTT, the gateway is killed a day ahead and starts a day
    behind, and is killed there too: every packet once, in order; what was committed "in the future" is served."""
    needs("nats")
    weather, broker = Weather(tmp_path / "weather", tmp_path / "var"), Broker("nats", tmp_path)
    config = hera_config(tmp_path, 25)
    with (config / "gateway.yaml").open("a") as file:
        file.write(broker.keys())
    daemon = Daemon(config, prefix=weather.prefix)
    daemon.start()
    connected(daemon)
    client = home_base(broker, daemon, tmp_path)
    try:
        for ahead_s, first in ((DAY_S, 200), (-DAY_S, 700), (0, 1200)):
            until(lambda first=first: acknowledged(daemon) > first)  # type: ignore[misc]
            weather.set_clock(ahead_s)
            until(lambda: metric(daemon, "gateway_clock_steps_total") == 1)
            at = acknowledged(daemon)
            until(lambda at=at: acknowledged(daemon) > at + 50)  # type: ignore[misc]
            daemon.kill()
            daemon.start()
            assert daemon.get(f"/instances/{HERA_INSTANCE}/journal")["damaged"] == []
        assert_exact(ended(client), tmp_path / "packets.bin")
        assert daemon.terminate() == 0
    finally:
        client.kill()
        daemon.kill()
