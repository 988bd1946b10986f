"""The `gateway` command: one typer application; each command lives in a module of its own and is imported late."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from gateway import __version__
from gateway.console import report_app
from gateway.console.home_app import home_app
from gateway.console.homes import homes_app
from gateway.console.options import DEFAULT_URL, AsJson, Url, fail, readable_errors
from gateway.console.params_app import params_app
from gateway.errors import UsageError

app = typer.Typer(
    name="gateway",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Ground-segment gateway: spacecraft telemetry in, every packet journalled and delivered to home bases once.",
    epilog="Start with [bold]gateway demo[/bold]: a simulated pass, two home bases, a reconciliation. "
    "Exit codes: 0 well, 1 something is wrong with the data or the gateway, 2 wrong usage or configuration.",
)
journal_app = typer.Typer(no_args_is_help=True, help="Look into a journal on disk (read only; the gateway may run).")
links_app = typer.Typer(no_args_is_help=True, help="Links of a running gateway: list, enable, disable, reset counters.")
app.add_typer(journal_app, name="journal")
clock_app = typer.Typer(no_args_is_help=True, help="The clock of a running gateway, after it was set.")
mdb_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Mission databases (XTCE, SCOS-2000 MIB, ccsdspy CSV, YAML): check, show, find, diff, convert.",
    epilog="[bold]gateway mdb show solar.yaml HK_POWER[/bold] shows the bits of a packet, "
    "[bold]gateway mdb diff old.xml new.xml[/bold] whose values change. The YAML form: docs/mission-database.md.",
)
app.add_typer(mdb_app, name="mdb")
app.add_typer(params_app, name="params")
app.add_typer(homes_app, name="homes")
report_app.mount(homes_app)
app.add_typer(home_app, name="home")
app.add_typer(links_app, name="links")
app.add_typer(clock_app, name="clock")


class DatabaseFormat(StrEnum):
    """What a mission database is written in."""

    XTCE = "xtce"
    MIB = "mib"
    CCSDSPY = "ccsdspy"
    YAML = "yaml"
    CANONICAL = "canonical"


UrlOrBroker = Annotated[
    str,
    typer.Option(
        "--url", envvar="GATEWAY_URL",
        help="Address of the running gateway, or mqtt://[USER@]HOST[:PORT] (mqtts://) of its broker; "
        "the broker's password comes from GATEWAY_MQTT_PASSWORD.",
    ),
]  # fmt: skip
ConfigDir = Annotated[Path, typer.Option("--config", "-c", help="Configuration directory.", show_default=True)]
Links = Annotated[list[str] | None, typer.Option("--link", help="Only of these links.")]
OfSpacecraft = Annotated[list[str] | None, typer.Option("--spacecraft", help="Only of these spacecraft.")]
DatabasePath = Annotated[Path, typer.Argument(help="A database: a file, or the folder of a MIB.", show_default=False)]
OfFormat = Annotated[DatabaseFormat | None, typer.Option("--format", "-f", help="Its format; without it as it looks.")]
OfApid = Annotated[int | None, typer.Option("--apid", min=0, max=2047, help="APID of a file that does not say it.")]
OfMib = Annotated[
    list[str] | None,
    typer.Option(
        "--mib", metavar="KEY=VALUE", help="What a MIB does not say: cuc_epoch, cuc_scale, cds_epoch, length_bits."
    ),
]


class AccessMode(StrEnum):
    """Who may use the control plane."""

    TOKENS = "tokens"
    OPEN = "open"


class SupportMode(StrEnum):
    """What an instance is for."""

    FLIGHT = "flight"
    SIMULATION = "simulation"
    TEST = "test"
    TRAINING = "training"


class ReplayUnit(StrEnum):
    """What a recorded file holds."""

    FRAMES = "frames"
    PACKETS = "packets"
    CADUS = "cadus"


class DeliveryMode(StrEnum):
    """How `subscribe` receives; a range of positions makes the first one offline."""

    COMPLETE = "complete"
    TIMELY = "timely"
    PLAYBACK = "playback"


class SubscriptionPriority(StrEnum):
    """How a subscription competes with others."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class Container(StrEnum):
    """What a recorded file is packed in."""

    NONE = "none"
    KISS = "kiss"
    UNPACKED_BITS = "unpacked_bits"


class Sabotage(StrEnum):
    """Where the demo may lose a packet on purpose."""

    DELIVERED = "delivered"
    JOURNALLED = "journalled"


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    token_file: Annotated[
        Path | None,
        typer.Option(
            envvar="GATEWAY_TOKEN_FILE",
            help="File with the token to show to a gateway; without it, on loopback, that of the operator, which the "
            "gateway leaves for its own user.",
        ),
    ] = None,
) -> None:
    if token_file is not None:
        os.environ["GATEWAY_TOKEN_FILE"] = str(token_file)  # for the parts that are imported late, and for children
    if version:
        typer.echo(f"usoc-gateway {__version__} (Python {sys.version.split()[0]})")
        raise typer.Exit


@app.command()
def run(
    config: ConfigDir = Path("."),
    data_dir: Annotated[Path | None, typer.Option(help="Overrides data_dir of gateway.yaml.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Overrides api.port; 0 = any free port.")] = None,
    log_json: Annotated[bool, typer.Option(help="Log lines as JSON.")] = False,
    access: Annotated[
        AccessMode | None,
        typer.Option(help="Overrides api.access. open: on loopback, whoever reaches the address is the operator."),
    ] = None,
) -> None:
    """Run the gateway until SIGTERM or Ctrl-C (drains within 10 s)."""
    with readable_errors():
        from gateway.console.run import run_gateway

        run_gateway(config, data_dir, port, log_json, access)


@app.command()
def check(
    directory: Annotated[Path, typer.Argument(help="Configuration directory.")] = Path("."),
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of the files and exit.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check a configuration: every error at once (file, line, key, value, what would be right). Starts nothing.

    It also reckons whether the contracts of the home bases (quotas: backlog_days, rate_limit_bps) fit the disk and the
    line (api.line_bps), from what the links say (expected_bps, rate_bps, frames_per_s) or what the journals in the
    data directory have taken until now; what does not fit is a warning, what is not known is said.
    """
    with readable_errors():
        from gateway.console.run import check_configuration

        check_configuration(directory, schema, as_json)


@app.command()
def diff(
    directory: Annotated[Path, typer.Argument(help="The new configuration directory.")],
    url: Url = DEFAULT_URL,
    old: Annotated[
        Path | None, typer.Option("--config", "-c", help="Compare with this directory, not with a running gateway.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a configuration changes: streams that each home base gains and loses, instances, links, keys.

    It is compared with what the gateway at --url uses now, or with another directory. Nothing is changed.

    Exit 0: no change, 1: changes that `gateway reload` applies, 3: some need a restart, 2: it cannot be compared.
    """
    with readable_errors():
        from gateway.console.changes import compare

        raise typer.Exit(compare(directory, url, old, as_json))


@app.command()
def reload(url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Let a running gateway read its configuration again (as SIGHUP does): it applies all of it, or changes nothing.

    Links, sessions and instances that are not concerned go on untouched; `gateway diff` shows before what will change.

    Exit 0: applied, or nothing to change; 2: the files are wrong, every problem is told; 1: it needs a restart, or a
    link cannot be opened.
    """
    with readable_errors():
        from gateway.console import changes

        changes.reload(url, as_json)


@app.command()
def status(url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Show a running gateway, worst first. Exit 1 when something is an error."""
    with readable_errors():
        from gateway.console.live import show_status

        raise typer.Exit(show_status(url, as_json))


@app.command()
def events(
    url: Url = DEFAULT_URL,
    instance: Annotated[str | None, typer.Option(help="Mission instance; default: all.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing new events until Ctrl-C.")] = False,
    count: Annotated[int, typer.Option("-n", min=1, max=1000, help="How many of the newest to begin with.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show events: link and contact transitions, gaps, rejects."""
    with readable_errors():
        from gateway.console.live import show_events

        show_events(url, instance, follow, count, as_json)


@app.command()
def demo(
    duration_s: Annotated[float, typer.Option(min=5, max=50, help="Length of the simulated pass, in seconds.")] = 20.0,
    seed: Annotated[int, typer.Option(help="Seed of the pass and its bad weather.")] = 7,
    keep: Annotated[Path | None, typer.Option(help="Keep journal, stores and ledger in this new folder.")] = None,
    sabotage: Annotated[
        Sabotage | None, typer.Option(help="Drop one packet on purpose: the demo must then exit 1.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a simulated pass through a real gateway to two home bases, and prove what arrived."""
    with readable_errors():
        from gateway.console.demo import run_demo

        raise typer.Exit(run_demo(duration_s, seed, keep, sabotage, as_json))


@app.command()
def replay(
    file: Annotated[
        Path | None,
        typer.Argument(help="Frames, packets or CADUs, KISS, or a folder recorded by a gateway (.rec files)."),
    ] = None,
    mission: Annotated[
        str, typer.Option("--mission", "-m", help="Mission name in --config, or a built-in example (see --missions).")
    ] = "",
    run_id: Annotated[str, typer.Option("--run", help="The same id continues, a new id is a new run.")] = "",
    support_mode: Annotated[SupportMode, typer.Option(help="Of the run's instance.")] = SupportMode.SIMULATION,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="Configuration directory.")] = None,
    data_dir: Annotated[Path, typer.Option(help="Where the run's journal is kept.")] = Path("var"),
    spacecraft: Annotated[str | None, typer.Option(help="Whose file it is; default: the mission's only one.")] = None,
    unit: Annotated[
        ReplayUnit | None,
        typer.Option(
            help="What the file holds; default: cadus where it plainly does, frames if the spacecraft has some."
        ),
    ] = None,
    container: Annotated[
        Container | None,
        typer.Option(
            help="What it is packed in; default: as the file looks. unpacked_bits: one bit per octet, --unit cadus."
        ),
    ] = None,
    frames_per_s: Annotated[
        float | None,
        typer.Option(
            min=0.001, max=10_000_000, help="Pace in frames (or CADUs) per second; default as fast as possible."
        ),
    ] = None,
    rate_bps: Annotated[float | None, typer.Option(min=1, max=10**12, help="Pace in bits per second.")] = None,
    subscribe_to: Annotated[
        Path | None,
        typer.Option(
            "--subscribe", help="Also start a subscriber process that stores into this folder; without --url."
        ),
    ] = None,
    vcid: Annotated[list[int] | None, typer.Option("--vc", help="Virtual channels of that subscriber.")] = None,
    url: Annotated[
        str | None, typer.Option(help="Let this running gateway do it (a file of its replay folders).")
    ] = None,
    missions: Annotated[bool, typer.Option("--missions", help="List the built-in missions and exit.")] = False,
    as_json: AsJson = False,
) -> None:
    """Replay a recording through the code that flies, in a mission instance of its own."""
    with readable_errors():
        from gateway.console.replay import ReplayOptions, list_missions, replay_file

        if missions:
            list_missions()
            raise typer.Exit
        if file is None:
            raise UsageError("which file?", "gateway replay FILE --mission NAME; --missions lists the built-in ones")
        options = ReplayOptions(
            file, mission, run_id, support_mode.value, config, data_dir, spacecraft, unit and unit.value, frames_per_s,
            rate_bps, subscribe_to, vcid, url, as_json, container and container.value,
        )  # fmt: skip
        raise typer.Exit(replay_file(options))


@app.command()
def probe(
    file: Annotated[str, typer.Argument(help="The recording; - = standard input.")],
    write: Annotated[
        Path | None, typer.Option("--write", help="Write mission and link into this configuration directory.")
    ] = None,
    name: Annotated[str, typer.Option(help="Of mission, spacecraft and link; default: from the file's name.")] = "",
    max_octets: Annotated[
        int, typer.Option(min=64, max=1 << 30, help="Look at no more than so many octets from the beginning.")
    ] = 16 << 20,
    as_json: AsJson = False,
) -> None:
    """Find out what an unknown recording holds: marker, coding, frames, channels; with a score for each finding.

    It says what the octets do not decide, and gives a configuration that `gateway replay` plays.

    Telecommands (CLTUs, TC frames) are told too, without a configuration: links bring telemetry.

    Exit 1 when nothing is recognised.
    """
    with readable_errors():
        from gateway.console.probe import ProbeOptions, probe_file

        raise typer.Exit(probe_file(ProbeOptions(file, write, name, max_octets, as_json)))


@app.command()
def subscribe(
    instance: Annotated[str, typer.Argument(help="Mission instance, for example demo.simulation.")],
    home: Annotated[str, typer.Option(help="Name of the home base.")],
    store: Annotated[
        Path | None,
        typer.Option(help="Folder that keeps what was received; continue with the same folder. Not in timely mode."),
    ] = None,
    subscription: Annotated[str, typer.Option(help="Name of the subscription.")] = "all",
    url: UrlOrBroker = DEFAULT_URL,
    spacecraft: Annotated[list[str] | None, typer.Option(help="Only these spacecraft.")] = None,
    vcid: Annotated[list[int] | None, typer.Option("--vc", help="Only these virtual channels.")] = None,
    apid: Annotated[list[int] | None, typer.Option(help="Only these APIDs.")] = None,
    kind: Annotated[list[str] | None, typer.Option(help="tm, event; default both.")] = None,
    idle: Annotated[bool, typer.Option("--idle", help="Idle packets too.")] = False,
    bad: Annotated[bool, typer.Option("--bad", help="Rejected units too.")] = False,
    sequential: Annotated[bool, typer.Option(help="One lane in position order.")] = False,
    from_head: Annotated[bool, typer.Option(help="A new subscription begins now, not at the oldest item.")] = False,
    count: Annotated[int | None, typer.Option(min=1, help="End after this many packets are stored.")] = None,
    until_end: Annotated[bool, typer.Option(help="End when the stream is finished (a replay).")] = False,
    from_position: Annotated[int | None, typer.Option(min=0, help="Offline: first position.")] = None,
    upto_position: Annotated[int | None, typer.Option(min=0, help="Offline: position after the last.")] = None,
    export: Annotated[
        Path | None, typer.Option(help="Write the packets to this file: at the end, or as they come (timely).")
    ] = None,
    mode: Annotated[
        DeliveryMode, typer.Option(help="complete: everything, once; timely: the newest, at once; playback: below.")
    ] = (DeliveryMode.COMPLETE),
    max_delay_ms: Annotated[
        int | None, typer.Option(min=10, max=60_000, help="Timely: what waits longer is skipped; default 1000.")
    ] = None,
    rate_limit_bps: Annotated[
        int | None, typer.Option(min=1000, max=10**12, help="Receive at most so many bits per second.")
    ] = None,
    priority: Annotated[
        SubscriptionPriority, typer.Option(help="Where subscriptions compete: shares of 16, 4 and 1.")
    ] = SubscriptionPriority.NORMAL,
    as_json: AsJson = False,
) -> None:
    """Receive items as a home base: store, force to disk, acknowledge; resumes exactly after any cut.

    With --mode timely: what comes now, at once, before it is journalled; when the network or this end is slow the
    oldest is skipped, and told. Nothing is stored but what --export writes.

    With --mode playback: what a playback request returns, whose id is the --subscription (`gateway homes playback
    ask`); ends when all has come, and goes on with the same --store after any cut.
    """
    with readable_errors():
        from gateway.console.listen import listen
        from gateway.console.subscribe import SubscribeOptions, subscribe_home

        selection = {
            "spacecraft": spacecraft, "vcids": vcid, "apids": apid, "kinds": kind, "idle": idle, "bad_quality": bad,
        }  # fmt: skip
        options = SubscribeOptions(
            url, instance, home, subscription, store, selection, sequential, from_head, count, until_end,
            from_position, upto_position, export, as_json, mode.value, max_delay_ms,
            rate_limit_bps, priority.value,
        )  # fmt: skip
        raise typer.Exit(listen(options) if mode is DeliveryMode.TIMELY else subscribe_home(options))


@clock_app.command("accept")
def clock_accept(url: Url = DEFAULT_URL) -> None:
    """Take the wall clock as right: plans of contacts and retention, which ignore its steps, go by it from now on."""
    with readable_errors():
        from gateway.console.live import accept_clock

        accept_clock(url)


@links_app.command("list")
def links_list(url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """List the links with state, contact, data age and counters by cause."""
    with readable_errors():
        from gateway.console.live import show_links

        show_links(url, as_json)


def _link_action(action: str) -> None:
    def command(
        link: Annotated[str, typer.Argument(help="Name of the link.")],
        instance: Annotated[str | None, typer.Option(help="Mission instance, when the name is not unique.")] = None,
        url: Url = DEFAULT_URL,
    ) -> None:
        with readable_errors():
            from gateway.console.live import act_on_link

            act_on_link(url, instance, link, action)

    texts = {
        "enable": "Enable a link.",
        "disable": "Disable a link: its sockets are closed until it is enabled.",
        "reset": "Reset the counters of a link.",
    }
    links_app.command(action, help=texts[action])(command)


for _action in ("enable", "disable", "reset"):
    _link_action(_action)


@journal_app.command("ls")
def journal_ls(
    data_dir: Annotated[Path, typer.Argument(help="Data directory of a gateway, or one instance's folder.")],
    as_json: AsJson = False,
) -> None:
    """List instances and segments: positions, times, octets."""
    with readable_errors():
        from gateway.console.journal import list_journals

        list_journals(data_dir, as_json)


@journal_app.command("show")
def journal_show(
    folder: Annotated[Path, typer.Argument(help="An instance's folder.")],
    position: Annotated[int | None, typer.Option(min=0, help="First position.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many items at most.")] = 20,
    link: Links = None,
    spacecraft: OfSpacecraft = None,
    octets: Annotated[bool, typer.Option("--octets", help="Hex of each item.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show items: position, time, stream, count, length; events as text."""
    with readable_errors():
        from gateway.console.journal import Choice, show_items

        choice = Choice(links=link, spacecraft=spacecraft, idle=True)
        show_items(folder, position, limit, choice, octets, as_json)


@journal_app.command("verify")
def journal_verify(
    folder: Annotated[Path, typer.Argument(help="An instance's folder.")], as_json: AsJson = False
) -> None:
    """Check every block. Exit 1 when something is damaged; the ranges are told."""
    with readable_errors():
        from gateway.console.journal import verify_journal

        raise typer.Exit(verify_journal(folder, as_json))


@journal_app.command("export")
def journal_export(
    folder: Annotated[Path, typer.Argument(help="An instance's folder; --frames: a recording's folder too.")],
    target: Annotated[Path, typer.Argument(help="File to write; it must not exist.")],
    packets: Annotated[
        bool, typer.Option("--packets", help="Packets back to back, octet for octet (default).")
    ] = False,
    frames: Annotated[bool, typer.Option("--frames", help="Whole frames, from the recording of raw octets.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="All items as rows, octets in hex, times in UTC.")] = False,
    sqlite: Annotated[bool, typer.Option("--sqlite", help="All items as an SQLite table `items`.")] = False,
    vcid: Annotated[list[int] | None, typer.Option("--vc", help="Only these virtual channels.")] = None,
    apid: Annotated[list[int] | None, typer.Option(help="Only these APIDs.")] = None,
    link: Links = None,
    spacecraft: OfSpacecraft = None,
    idle: Annotated[bool, typer.Option("--idle", help="Idle packets too.")] = False,
) -> None:
    """Export for other tools."""
    with readable_errors():
        from gateway.console.journal import Choice, export_journal

        chosen = [
            name
            for name, wanted in (("packets", packets), ("frames", frames), ("csv", as_csv), ("sqlite", sqlite))
            if wanted
        ]
        if len(chosen) > 1:
            fail(f"--{chosen[0]} and --{chosen[1]} exclude each other", "give one", 2)
        form = chosen[0] if chosen else "packets"
        export_journal(folder, target, form, Choice(vcid, apid, link, spacecraft, idle))


@mdb_app.command("check")
def mdb_check(
    database: DatabasePath,
    database_format: OfFormat = None,
    apid: OfApid = None,
    mib: OfMib = None,
    as_json: AsJson = False,
) -> None:
    """Check a mission database: all that is wrong, with file and line; what was not read, and why. Exit 1 if wrong.

    Unresolved names, cycles, packets that nothing tells apart, layouts that overlap or end beyond a packet, limits that
    are never seen, states that are never met.

    [bold]gateway mdb check solar.yaml[/bold]
    """
    with readable_errors():
        from gateway.console.mdb import Source, check_database

        raise typer.Exit(check_database(Source(database, database_format, apid, mib), as_json))


@mdb_app.command("show")
def mdb_show(
    database: DatabasePath,
    names: Annotated[
        list[str] | None, typer.Argument(help="Packets and parameters; the end of a name is enough, or an alias.")
    ] = None,
    database_format: OfFormat = None,
    apid: OfApid = None,
    mib: OfMib = None,
    as_json: AsJson = False,
) -> None:
    """Show a mission database: the tree of its packets; with names, their bits, calibrations and limits in words.

    [bold]gateway mdb show solar.yaml[/bold]              the tree

    [bold]gateway mdb show solar.yaml HK_POWER[/bold]     octet.bit, size, coding, value, limits of all that is in it

    [bold]gateway mdb show solar.yaml VOLTAGE[/bold]      one parameter, and where it stands
    """
    with readable_errors():
        from gateway.console.mdb import Source, show_database

        raise typer.Exit(show_database(Source(database, database_format, apid, mib), names or [], as_json))


@mdb_app.command("find")
def mdb_find(
    database: DatabasePath,
    text: Annotated[str, typer.Argument(help="A part of a name, alias, description or unit; upper or lower case.")],
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many of each to show at most.")] = 50,
    database_format: OfFormat = None,
    apid: OfApid = None,
    mib: OfMib = None,
    as_json: AsJson = False,
) -> None:
    """Find packets and parameters. Exit 1 when there are none.

    [bold]gateway mdb find solar.yaml volt[/bold]
    """
    with readable_errors():
        from gateway.console.mdb import Source, find_in_database

        raise typer.Exit(find_in_database(Source(database, database_format, apid, mib), text, limit, as_json))


@mdb_app.command("diff")
def mdb_diff(
    old: Annotated[Path, typer.Argument(help="The database before.", show_default=False)],
    new: Annotated[Path, typer.Argument(help="The database after.", show_default=False)],
    database_format: OfFormat = None,
    apid: OfApid = None,
    mib: OfMib = None,
    as_json: AsJson = False,
) -> None:
    """Compare two databases: which parameters have other values, and why; packets added and removed. Exit 1 if any.

    A value is other when it is coded, calibrated, placed or found otherwise, or depends on one that is. What is only
    told otherwise (limits, units, descriptions) stands apart. The order of a file and its comments are no difference.

    [bold]gateway mdb diff solar-1.yaml solar-2.yaml[/bold]

    [bold]gateway mdb diff mission.xml converted.yaml[/bold]     nothing, when the conversion is right
    """
    with readable_errors():
        from gateway.console.mdb import Source, compare_databases

        before, after = (Source(path, database_format, apid, mib) for path in (old, new))
        raise typer.Exit(compare_databases(before, after, as_json))


@mdb_app.command("convert")
def mdb_convert(
    database: DatabasePath,
    target: Annotated[str, typer.Argument(help="File to write: .yaml, .json (canonical); - = standard output, YAML.")],
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    database_format: OfFormat = None,
    apid: OfApid = None,
    mib: OfMib = None,
) -> None:
    """Write a mission database in our YAML form. What was written is read back and compared before it is kept.

    [bold]gateway mdb convert mission.xml solar.yaml[/bold]

    [bold]gateway mdb convert mib-folder - | less[/bold]
    """
    with readable_errors():
        from gateway.console.mdb import Source, convert_database

        raise typer.Exit(convert_database(Source(database, database_format, apid, mib), target, force))


@mdb_app.command("schema")
def mdb_schema() -> None:
    """Print the JSON Schema of the YAML form, for editors that complete and check while you write.

    [bold]gateway mdb schema > mdb.schema.json[/bold], then as the first line of a database:

    # yaml-language-server: $schema=mdb.schema.json
    """
    with readable_errors():
        from gateway.console.mdb import print_schema

        print_schema()
