"""Turns configured names into the plain values that codecs, links and journals take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.access.local import read_token
from gateway.errors import UsageError
from gateway.homes.outlets import OutletSettings
from gateway.journal import JournalSettings
from gateway.links import FileSource, LinkSettings, Source, TcpClientSource, TcpServerSource, UdpSource
from gateway.links.supervised import LinkContext
from gateway.world import Network, Worker
from gateway_codecs.batches import DataMode
from gateway_codecs.frames import FrameFormat, VcFormat
from gateway_codecs.intake import LinkFormat
from gateway_codecs.packet_stream import Intake, make_intake
from gateway_codecs.packet_times import PacketTime
from gateway_codecs.time_codes import TimeCode
from gateway_config import (
    FrameSettings,
    GatewaySettings,
    Home,
    LinkConfig,
    Mission,
    PacketSettings,
    Spacecraft,
    TimeSettings,
    VcSettings,
)
from gateway_config import Outlet as OutletConfig
from gateway_routes.upstream import UpstreamError

if TYPE_CHECKING:
    from gateway.homes.paths import Paths
    from gateway.links.upstream import UpstreamLink
    from gateway_codecs.cadus import CaduFormat

PING_LEAST_S = 1.0


def journal_settings(gateway: GatewaySettings) -> JournalSettings:
    """Return the journal's settings."""
    keys = gateway.journal
    return JournalSettings(
        segment_octets=keys.segment_octets,
        keep_days=keys.keep_days,
        keep_octets=keys.keep_octets,
        reserve_octets=keys.reserve_octets,
        memory_octets=keys.memory_octets,
    )


def packet_time(settings: TimeSettings | None) -> PacketTime | None:
    """Return where packets state their generation time."""
    if settings is None:
        return None
    keys = settings.model_dump(exclude={"offset_octets"})
    return PacketTime(TimeCode(**keys), settings.offset_octets)


def packet_format(settings: VcSettings | PacketSettings) -> VcFormat:
    """Return the codec's settings of packets, in a virtual channel or back to back."""
    return VcFormat(
        packet_versions=frozenset(settings.packet_versions),
        max_packet_octets=settings.max_packet_octets,
        apid_counting={apid: apid_settings.counting for apid, apid_settings in settings.apids.items()},
        default_apid_counting=settings.default_counting,
        default_time=packet_time(settings.default_time),
        apid_time={
            apid: packet_time(row.time if isinstance(row.time, TimeSettings) else None)
            for apid, row in settings.apids.items()
            if row.time != "default"
        },
    )


def vc_format(settings: VcSettings) -> VcFormat:
    """Return the codec's settings of a virtual channel."""
    return replace(
        packet_format(settings),
        service=settings.service,
        counting=settings.counting,
        packet_start=None if settings.packet_start == "pointer" else settings.packet_start,
        packet_zone_padding=settings.packet_zone_padding == "ignore",
        maps=settings.maps,
        truncated_frame_octets=settings.truncated_frame_octets,
    )


def frame_format(frames: FrameSettings, scids: dict[int, int]) -> FrameFormat:
    """Return the codec's settings of a frame link; `scids` maps to the journal's spacecraft ids."""
    return FrameFormat(
        version=frames.version,
        frame_length_octets=frames.frame_length_octets,
        scids=scids,
        vcs={vcid: vc_format(vc) for vcid, vc in frames.vcs.items()},
        fecf=frames.fecf,
        ocf=frames.ocf,
        insert_zone_octets=frames.insert_zone_octets,
        secondary_header=frames.secondary_header,
        unknown_vc=frames.unknown_vc,
        mc_counting=frames.mc_counting,
        octet_interleave=frames.octet_interleave,
        header_error_control=frames.header_error_control,
        variable_length=frames.variable_length,
        prefix_octets=frames.prefix_octets,
        suffix_octets=frames.suffix_octets,
    )


def intake_maker(link: LinkConfig, craft: Spacecraft, link_id: int, spacecraft_id: int) -> Callable[[], Intake]:
    """Return what makes a fresh intake for a link."""
    frames = None
    if link.unit != "packets" and link.container != "kiss" and craft.frames is not None:
        frames = frame_format(craft.frames, dict.fromkeys(craft.scids, spacecraft_id))
    settings = LinkFormat(
        link=link_id,
        frames=frames,
        spacecraft=spacecraft_id,
        packets=packet_format(craft.packets),
        packet_prefix_octets=craft.packets.prefix_octets,
        data_mode=DataMode[link.data_mode.upper()],
        cadus=cadu_format(link, craft) if link.unit == "cadus" else None,
        container="kiss" if link.container == "kiss" else "none",
    )
    return lambda: make_intake(settings)


def is_recorded(link: LinkConfig) -> bool:
    """Whether the raw octets of a link are kept."""
    if link.type == "gateway":  # its items are journalled as they come: there are no raw octets
        return False
    return link.record and link.unit != "packets" and link.container == "none" and link.type != "file"


def cadu_format(link: LinkConfig, craft: Spacecraft) -> CaduFormat:
    """Return the codec's settings of a link's CADUs."""
    from gateway_codecs.cadus import CaduFormat  # late: who has no such link starts without their decoders
    from gateway_codecs.reed_solomon import ReedSolomon
    from gateway_codecs.sync_markers import SyncMarker
    from gateway_codecs.synchroniser import SyncSettings

    coding, frames, keys = craft.coding, craft.frames, link.sync
    if coding is None or frames is None:
        raise ValueError(f"{craft.name} does not say how its frames are coded")
    code = coding.reed_solomon
    decoder = None
    if code is not None:
        fill = code.data_octets - frames.frame_length_octets // code.interleave
        decoder = ReedSolomon(code.e, code.interleave, code.basis, fill)
    sync = SyncSettings(
        coding.block_octets(frames.frame_length_octets),
        SyncMarker(coding.marker),
        alignment=keys.alignment,
        search_errors=keys.search_errors,
        verify=keys.verify,
        lock_errors=keys.lock_errors,
        flywheel=keys.flywheel,
        slip_bits=keys.slip_bits,
        polarity=keys.polarity,
    )
    return CaduFormat(sync, coding.randomiser, decoder, link.container == "unpacked_bits", coding.tail_octets)


def unit_octets(link: LinkConfig, craft: Spacecraft) -> int:
    """Return how many octets of a link a frame takes, as it is sent or stored there; 0 when there are none."""
    frames = craft.frames
    if frames is None:
        return 0
    if link.unit == "cadus":
        fmt = cadu_format(link, craft)
        return -(-fmt.sync.period_bits // (1 if fmt.unpacked_bits else 8))
    return frames.unit_octets


def about_recording(instance: str, link: LinkConfig, craft: Spacecraft) -> dict[str, Any]:
    """Return what a recording says of itself. A stream of CADUs is octets: where they begin, their markers tell."""
    if craft.frames is None:
        raise ValueError("only frames are recorded")
    about = {"instance": instance, "mission": link.mission, "spacecraft": craft.name, "link": link.name}
    stream = craft.frames.variable_length  # octets are kept as they came
    if link.unit == "cadus" and link.type != "udp":
        stream = cadu_format(link, craft).sync.marker.bits > 0
    return {**about, "unit": link.unit, "unit_octets": 1 if stream else unit_octets(link, craft)}


def link_settings(link: LinkConfig) -> LinkSettings:
    """Return a link's supervision settings."""
    return LinkSettings(
        name=link.name,
        type=link.type,
        spacecraft=link.spacecraft,
        enabled=link.enabled,
        prime=link.prime,
        real_time=link.data_mode == "real_time",
        watchdog_s=link.watchdog_s,
        retry_min_s=link.retry_min_s,
        retry_max_s=link.retry_max_s,
    )


def source(link: LinkConfig, craft: Spacecraft, directory: Path, network: Network, worker: Worker) -> Source:
    """Return where a link's octets come from."""
    if link.type == "file":
        return FileSource(str(directory / link.path), worker, octets_per_s(link, craft))
    if link.type == "tcp_client":
        return TcpClientSource(network, link.host, link.port)
    if link.type == "udp":
        return UdpSource(network, link.host, link.port, tuple(link.allowed_peers), link.receive_buffer_octets)
    return TcpServerSource(network, link.host, link.port, tuple(link.allowed_peers), link.watchdog_s)


def upstream_link(
    link: LinkConfig, directory: Path, context: LinkContext, paths: Paths, mission: Mission
) -> UpstreamLink:
    """Return a link whose peer is another gateway; late imports: who has none starts without a client."""
    from gateway.homes.client import WebSocketDial
    from gateway.links.upstream import UpstreamLink, UpstreamWish

    keys = link.upstream
    if keys is None:
        raise ValueError(f"link {link.name} does not say which upstream")
    file = directory / keys.token_file if keys.token_file else None
    dial = WebSocketDial(keys.url, keys.instance, partial(_token, file), max(link.watchdog_s / 2, PING_LEAST_S))
    name = keys.subscription or f"{link.name[:27]}-{context.journal.journal_id}"  # at most 64 characters
    selection = keys.selection.model_dump(exclude_defaults=True)
    address = f"{keys.url.rstrip('/')} {keys.instance}"
    wish = UpstreamWish(address, keys.home, name, selection)
    known = frozenset(craft.name for craft in mission.spacecraft)
    return UpstreamLink(link_settings(link), wish, dial, context, paths, known)


def outlets_of(homes: Mapping[str, Home], mission: str, support_mode: str) -> list[OutletSettings]:
    """Return the outlets that the home bases have in a mission instance."""
    return [
        OutletSettings(
            home.name, keys.name, keys.type, keys.host, keys.port, _outlet_wish(keys), keys.max_clients,
            keys.max_delay_ms / 1000,
        )
        for home in homes.values()
        for keys in home.outlets
        if (keys.mission, keys.support_mode) == (mission, support_mode)
    ]  # fmt: skip


def _outlet_wish(keys: OutletConfig) -> dict[str, Any]:
    chosen = {key: getattr(keys, key) for key in ("spacecraft", "vcids", "apids", "data_modes")}
    wish = {key: value for key, value in chosen.items() if value is not None}
    return {"kinds": ["tm"], "units": ["packet"], "idle": keys.idle, **wish}


def _token(file: Path | None) -> str | None:
    """Return the token in a file. Raises UpstreamError."""
    try:
        return None if file is None else read_token(file)
    except UsageError as error:
        raise UpstreamError(f"{error} ({error.hint})") from None


def octets_per_s(link: LinkConfig, craft: Spacecraft) -> float | None:
    """Return a file link's pace; None = as fast as possible."""
    if link.rate_bps is not None:
        return link.rate_bps / 8 * link.speed
    if link.frames_per_s is not None and craft.frames is not None:
        return link.frames_per_s * unit_octets(link, craft) * link.speed
    return None
