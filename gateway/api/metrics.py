"""Prometheus metrics, made from the same state that the API and the console show."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

State = Mapping[str, Any]
CAUSES = ("expired", "damaged", "late")
"""Why a home base did not get something: there from the beginning, so that a rise from nothing is seen."""


def render_metrics(state: State) -> tuple[bytes, str]:
    """Return the exposition text of one state dictionary and its media type."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(_Snapshot(state))
    return generate_latest(registry), CONTENT_TYPE_LATEST


class _Snapshot(Collector):
    def __init__(self, state: State) -> None:
        self._state = state

    def collect(self) -> Iterable[Metric]:
        instances = self._state["instances"]
        yield GaugeMetricFamily("gateway_uptime_seconds", "Time since start", self._state["uptime_s"])
        yield from _configuration(self._state["configuration"])
        yield _conditions(self._state["conditions"])
        yield from _machine(self._state["machine"])
        yield from _journal(instances)
        yield from _links(instances)
        yield from _contacts(instances)
        yield from _streams(instances)
        yield from _subscriptions(instances)
        yield from _homes(instances)
        yield from _timely(instances)
        yield from _outlets(instances)
        yield from _values(instances)
        yield _refused(self._state["access"], instances)
        yield from _mqtt(self._state.get("mqtt"))


def _configuration(state: State) -> Iterator[Metric]:
    text = "1 for the configuration in use, by the digest of its content"
    info = GaugeMetricFamily("gateway_configuration_info", text, labels=["revision"])
    info.add_metric([state["revision"]], 1)
    reloads = CounterMetricFamily("gateway_reloads", "Reloads of the configuration", labels=["result"])
    for result, count in state["reloads"].items():
        reloads.add_metric([result], count)
    yield from (info, reloads)


def _conditions(rows: Iterable[State]) -> Metric:
    text = "1 for each condition that holds (docs/bad-weather.md)"
    found = GaugeMetricFamily("gateway_condition", text, labels=["severity", "condition", "subject"])
    for severity, what, subject in {(row["severity"], row["what"], row["subject"]) for row in rows}:
        found.add_metric([severity, what, subject], 1)
    return found


def _machine(machine: State) -> Iterator[Metric]:
    clock, files, connections, disk = (machine[key] for key in ("clock", "descriptors", "connections", "disk"))
    yield CounterMetricFamily("gateway_clock_steps", "Steps of the wall clock", clock["steps"])
    text = "How far the wall clock is ahead of the time that plans and retention go by"
    yield GaugeMetricFamily("gateway_clock_offset_seconds", text, clock["offset_s"])
    yield GaugeMetricFamily("gateway_descriptors_open", "File descriptors in use, without the reserve", files["open"])
    yield GaugeMetricFamily("gateway_descriptors_limit", "File descriptors that may be open", files["limit"])
    yield GaugeMetricFamily("gateway_descriptors_reserve", "File descriptors kept for the journal", files["reserve"])
    yield GaugeMetricFamily("gateway_connections", "Connections to the control plane", connections["open"])
    yield GaugeMetricFamily("gateway_connections_limit", "Connections that there is room for", connections["limit"])
    refused = CounterMetricFamily("gateway_connections_refused", "Connections refused", labels=["reason"])
    closed = CounterMetricFamily("gateway_connections_closed", "Connections closed by the gateway", labels=["reason"])
    for reason in ("per peer", "in all"):
        refused.add_metric([reason], connections["refused"].get(reason, 0))
    for reason, count in connections["closed"].items():
        closed.add_metric([reason], count)
    yield from (refused, closed)
    if disk["free_octets"] is not None:
        yield GaugeMetricFamily("gateway_disk_free_octets", "Free on the device of the data", disk["free_octets"])
    yield GaugeMetricFamily("gateway_disk_reserve_octets", "Intake stops below this", disk["reserve_octets"])
    busy = GaugeMetricFamily("gateway_worker_busy_seconds", "Time in one piece of work", labels=["worker"])
    for worker, busy_s in machine["workers"].items():
        busy.add_metric([worker], busy_s)
    yield CounterMetricFamily("gateway_log_lines_lost", "Lines that could not be logged", machine["log_lines_lost"])
    failures = CounterMetricFamily("gateway_task_failures", "Internal failures", labels=["task"])
    for task, times in machine["task_failures"].items():
        failures.add_metric([task], times)
    yield from (busy, failures)


def _journal(instances: Iterable[State]) -> Iterator[Metric]:
    head = GaugeMetricFamily("gateway_journal_head", "Next position of the journal", labels=["instance"])
    tail = GaugeMetricFamily("gateway_journal_tail", "Oldest readable position", labels=["instance"])
    octets = GaugeMetricFamily("gateway_journal_octets", "Octets of the journal on disk", labels=["instance"])
    blocked = GaugeMetricFamily("gateway_journal_blocked", "1 while nothing can be committed", labels=["instance"])
    took = GaugeMetricFamily(
        "gateway_journal_commit_seconds", "How long commits took in the last minute", labels=["instance", "quantile"]
    )
    under_way = GaugeMetricFamily(
        "gateway_journal_commit_under_way_seconds", "Since when a commit is under way", labels=["instance"]
    )
    for instance in instances:
        name, journal = [instance["instance"]], instance["journal"]
        for quantile, key in (("0.5", "p50_s"), ("0.99", "p99_s"), ("1", "longest_s")):
            took.add_metric([*name, quantile], journal["commits"][key])
        under_way.add_metric(name, journal["commits"]["under_way_s"])
        head.add_metric(name, journal["head"])
        tail.add_metric(name, journal["tail"])
        octets.add_metric(name, journal["octets"])
        blocked.add_metric(name, journal["blocked"] is not None)
    yield from (head, tail, octets, blocked, took, under_way)


def _links(instances: Iterable[State]) -> Iterator[Metric]:
    labels = ["instance", "link"]
    state = GaugeMetricFamily("gateway_link_state", "1 for the state the link is in", labels=[*labels, "state"])
    age = GaugeMetricFamily("gateway_link_data_age_seconds", "Age of the last good frame or packet", labels=labels)
    sync = GaugeMetricFamily(
        "gateway_link_sync", "1 for the state of a synchroniser of CADUs", labels=[*labels, "state"]
    )
    counter = CounterMetricFamily(
        "gateway_link_units", "What the link counted, by name; rejected units by cause", labels=[*labels, "what"]
    )
    text = "All positions of the upstream's journal below it are here, or are missing for ever"
    low_water = GaugeMetricFamily("gateway_upstream_low_water", text, labels=labels)
    lag = GaugeMetricFamily("gateway_upstream_lag_items", "Positions of the upstream not here yet", labels=labels)
    for instance in instances:
        for link in instance["links"]:
            key = [instance["instance"], link["name"]]
            state.add_metric([*key, link["state"]], 1)
            if link.get("sync") is not None:
                sync.add_metric([*key, link["sync"]], 1)
            if link.get("age_s") is not None:
                age.add_metric(key, link["age_s"])
            for what, value in link.get("counters", {}).items():
                counter.add_metric([*key, what], value)
            if (upstream := link.get("upstream")) is not None:
                low_water.add_metric(key, upstream["low_water"])
                if upstream["lag_items"] is not None:
                    lag.add_metric(key, upstream["lag_items"])
    yield from (state, sync, age, counter, low_water, lag)


def _contacts(instances: Iterable[State]) -> Iterator[Metric]:
    active = GaugeMetricFamily(
        "gateway_contact_active", "1 while a contact of the spacecraft is active", labels=["instance", "spacecraft"]
    )
    for instance in instances:
        busy = {row["spacecraft"] for row in instance["contacts"] if row["state"] == "active"}
        for spacecraft in instance["spacecraft"]:
            active.add_metric([instance["instance"], spacecraft], spacecraft in busy)
    yield active


def _streams(instances: Iterable[State]) -> Iterator[Metric]:
    labels = ["instance", "link", "spacecraft", "scid", "vcid", "map_id", "replay", "expedited", "apid"]
    packets = CounterMetricFamily("gateway_stream_packets", "Packets by virtual channel and APID", labels=labels)
    missing = CounterMetricFamily("gateway_stream_missing", "Missing units by their count", labels=[*labels, "unit"])
    for instance in instances:
        for row in instance["streams"]:
            told = {**row, **{flag: "true" if row[flag] else "false" for flag in ("replay", "expedited")}}
            *channel, apid = ("" if told[label] is None else str(told[label]) for label in labels[1:])
            key = [instance["instance"], *channel]
            unit = "packets" if apid else "frames"
            if apid:
                packets.add_metric([*key, apid], row["packets"])
            if row[f"missing_{unit}"] is not None:  # what does not count has no series
                missing.add_metric([*key, apid, unit], row[f"missing_{unit}"])
            for name, count in row["shared_missing"].items():
                missing.add_metric([*key, f"shared:{name}", "packets"], count)
    yield from (packets, missing)


def _subscriptions(instances: Iterable[State]) -> Iterator[Metric]:
    labels = ["instance", "home", "subscription"]
    lag = GaugeMetricFamily("gateway_subscription_lag_items", "Positions between cursor and head", labels=labels)
    sent = CounterMetricFamily("gateway_subscription_items", "Items sent", labels=labels)
    drops = CounterMetricFamily(
        "gateway_subscription_drops", "Positions the subscription was told as missing", labels=labels
    )
    for instance in instances:
        for row in instance["subscriptions"]:
            if row["mode"] != "complete":
                continue  # several may have one name, and they end
            key = [instance["instance"], row["home"], row["subscription"]]
            lag.add_metric(key, row.get("lag_items", 0))
            sent.add_metric(key, row.get("sent_items", 0))
            drops.add_metric(key, row.get("drops", 0))
    yield from (lag, sent, drops)


def _homes(instances: Iterable[State]) -> Iterator[Metric]:
    labels = ["instance", "home"]
    sessions = GaugeMetricFamily("gateway_home_sessions", "Open sessions, of every mode", labels=labels)
    lag = GaugeMetricFamily("gateway_home_lag_items", "Positions its worst subscription is behind", labels=labels)
    late = GaugeMetricFamily("gateway_home_lag_seconds", "For how long its oldest is committed", labels=labels)
    backlog = GaugeMetricFamily("gateway_home_backlog_items", "Positions not acknowledged, in all", labels=labels)
    drops = CounterMetricFamily(
        "gateway_home_drops", "Positions told as missing, items skipped in timely mode", labels=[*labels, "cause"]
    )
    seen = GaugeMetricFamily(
        "gateway_home_last_seen_age_seconds", "Since its newest message; +Inf = never heard", labels=labels
    )
    digests = GaugeMetricFamily(
        "gateway_home_digests", "Contacts and days by what came of their digest", labels=[*labels, "state"]
    )
    for instance in instances:
        for row in instance["homes"]:
            key = [instance["instance"], row["home"]]
            sessions.add_metric(key, row["sessions"])
            lag.add_metric(key, row["lag_items"])
            backlog.add_metric(key, row["backlog_items"])
            late.add_metric(key, row["lag_s"])
            seen.add_metric(key, math.inf if row["last_seen_age_s"] is None else row["last_seen_age_s"])
            for state in ("unconfirmed", "differing"):
                digests.add_metric([*key, state], row[f"digests_{state}"])
            for cause, count in {**dict.fromkeys(CAUSES, 0), **row["drops"]}.items():
                drops.add_metric([*key, cause], count)
    yield from (sessions, lag, late, backlog, drops, seen, digests)


def _timely(instances: Iterable[State]) -> Iterator[Metric]:
    labels = ["instance", "home"]
    sent = CounterMetricFamily("gateway_timely_items", "Items sent in timely mode", labels=labels)
    skipped = CounterMetricFamily(
        "gateway_timely_skipped_items", "Items skipped in timely mode, and told", labels=labels
    )
    for instance in instances:
        for row in instance["timely"]:
            key = [instance["instance"], row["home"]]
            sent.add_metric(key, row["delivered_items"])
            skipped.add_metric(key, row["skipped_items"])
    yield from (sent, skipped)


def _outlets(instances: Iterable[State]) -> Iterator[Metric]:
    labels = ["instance", "home", "outlet"]
    clients = GaugeMetricFamily("gateway_outlet_clients", "Clients of an outlet of plain packets", labels=labels)
    texts = {
        "delivered_items": "Packets handed to the network", "skipped_items": "Packets skipped for slow clients",
        "not_sent": "Packets that are no datagram, or were refused", "clients_refused": "Clients beyond max_clients",
    }  # fmt: skip
    counters = {key: CounterMetricFamily(f"gateway_outlet_{key}", text, labels=labels) for key, text in texts.items()}
    for instance in instances:
        for row in instance["outlets"]:
            key = [instance["instance"], row["home"], row["outlet"]]
            clients.add_metric(key, row["clients"])
            for what, metric in counters.items():
                metric.add_metric(key, row[what])
    yield from (clients, *counters.values())


def _values(instances: Iterable[State]) -> Iterator[Metric]:
    labels = ["instance", "spacecraft", "packet_type"]
    texts = {
        "packets": "Live packets decoded", "late": "Of these, older than one before",
        "ambiguous": "Of these, packets that another container describes too: the first in the database was taken",
        "out_of_limit": "Samples beyond a limit", "invalid": "Samples with limits that were not valid",
        "given_up": "Packets of variable layouts left undecodable: their batch took too much work",
    }  # fmt: skip
    by_type = {what: CounterMetricFamily(f"gateway_values_{what}", text, labels=labels) for what, text in texts.items()}
    unidentified = CounterMetricFamily(
        "gateway_values_unidentified", "Live packets that no container describes", labels=labels[:2]
    )
    behind = GaugeMetricFamily("gateway_values_behind_items", "Positions not decoded yet", labels=labels[:1])
    beyond = GaugeMetricFamily("gateway_values_out_of_limits", "Parameters beyond a limit now", labels=labels[:1])
    for instance in (one for one in instances if one["values"] is not None):
        name, values = instance["instance"], instance["values"]
        for row in values["packet_types"]:
            for what, metric in by_type.items():
                metric.add_metric([name, row["spacecraft"], row["packet_type"]], row[what])
        for spacecraft, count in values["unidentified"].items():
            unidentified.add_metric([name, spacecraft], count)
        behind.add_metric([name], values["behind"])
        beyond.add_metric([name], values["out_of_limits"])
    yield from (*by_type.values(), unidentified, behind, beyond)


def _refused(access: State, instances: Iterable[State]) -> Metric:
    text = "Requests that were refused at the door (instance empty), and sessions, by why (docs/homes.md)"
    found = CounterMetricFamily("gateway_refused", text, labels=["instance", "why"])
    for name, counts in [("", access["refused"]), *((row["instance"], row["refused"]) for row in instances)]:
        for why, count in counts.items():
            found.add_metric([name, why], count)
    return found


def _mqtt(state: State | None) -> Iterator[Metric]:
    if state is None:
        return
    connected = state["state"] == "connected"
    yield GaugeMetricFamily("gateway_mqtt_connected", "1 while the gateway is connected to its broker", connected)
    yield GaugeMetricFamily("gateway_mqtt_sessions", "Home bases' sessions over MQTT", state["sessions"])
    for what, value in state["counters"].items():
        yield CounterMetricFamily(f"gateway_mqtt_{what}", "Of delivery over MQTT, since the start", value)
