"""`gateway homes playback`, `resend` and `unsubscribe`; each command's work is imported late."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from gateway.console.options import DEFAULT_URL, AsJson, Url, readable_errors

playback_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Playback requests: a range of the journal once more for a home base, beside its live data.",
    epilog="[bold]gateway homes playback ask laboratory-a --from -2h --to -1h --apid 200[/bold] asks, and says how the "
    "home base fetches it. Times are UTC, such as 2026-11-24T10:00:00Z, or before now: -90s, -10m, -2h, -3d.",
)


class By(StrEnum):
    """Which time a range of time is of."""

    RECEIVE = "receive"
    GENERATION = "generation"


Home = Annotated[str, typer.Argument(help="Name of the home base.", show_default=False)]
Instance = Annotated[str | None, typer.Option(help="Mission instance; default the only one.")]
From = Annotated[str | None, typer.Option("--from", help="First time, UTC, or before now (-2h).")]
To = Annotated[str | None, typer.Option("--to", help="Time behind the last, UTC, or before now; `now`.")]
OfTime = Annotated[By, typer.Option("--by", help="Times of reception here, or of generation on board.")]
First = Annotated[int | None, typer.Option("--from-position", min=0, help="First position, instead of times.")]
Upto = Annotated[int | None, typer.Option("--upto-position", min=0, help="Position after the last.")]


@playback_app.command("ask")
def ask(
    home: Home,
    from_utc: From = None,
    to_utc: To = None,
    by: OfTime = By.RECEIVE,
    from_position: First = None,
    upto_position: Upto = None,
    spacecraft: Annotated[list[str] | None, typer.Option(help="Only these spacecraft.")] = None,
    vcid: Annotated[list[int] | None, typer.Option("--vc", help="Only these virtual channels.")] = None,
    apid: Annotated[list[int] | None, typer.Option(help="Only these APIDs.")] = None,
    kind: Annotated[list[str] | None, typer.Option(help="tm, event; default both.")] = None,
    instance: Instance = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Ask for a playback for a home base: accepted at once, or refused with the reason. Exit 1 when it is refused."""
    with readable_errors():
        from gateway.console.playback import Place, Range, ask_playback

        selection = {"spacecraft": spacecraft, "vcids": vcid, "apids": apid, "kinds": kind}
        span = Range(from_utc, to_utc, by.value, from_position, upto_position)
        ask_playback(Place(url, instance), home, span, selection, as_json)


@playback_app.command("list")
def list_all(
    home: Annotated[str | None, typer.Argument(help="Only those of this home base.")] = None,
    instance: Instance = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """List playback requests: the open ones, and of each home base the newest that are closed."""
    with readable_errors():
        from gateway.console.playback import Place, list_playbacks

        list_playbacks(Place(url, instance), home, as_json)


@playback_app.command("cancel")
def cancel(
    playback: Annotated[str, typer.Argument(help="Id of the request, such as playback-7.", show_default=False)],
    instance: Instance = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Cancel a request that is open; a session that fetches it ends with the reason."""
    with readable_errors():
        from gateway.console.playback import Place, cancel_playback

        cancel_playback(Place(url, instance), playback, as_json)


def unsubscribe(
    home: Home,
    subscription: Annotated[str, typer.Argument(help="Name of its subscription.", show_default=False)],
    instance: Instance = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """End a subscription that nobody needs any more: its place is forgotten, and it counts no more for the quota.

    The journal keeps everything, and so does the home base's store. `gateway status` shows which subscriptions there
    are. Stop its subscriber first: one that is being served is refused. A home base may end its own, with its token.

    [bold]gateway homes unsubscribe laboratory-a old-display[/bold]

    [bold]gateway --token-file a.token homes unsubscribe laboratory-a old-display --instance picard.flight[/bold]
    """
    with readable_errors():
        from gateway.console.playback import Place
        from gateway.console.unsubscribe import end_subscription

        end_subscription(Place(url, instance), home, subscription, as_json)


def resend(
    home: Home,
    subscription: Annotated[str, typer.Argument(help="Name of its subscription.", show_default=False)],
    from_utc: From = None,
    to_utc: To = None,
    by: OfTime = By.RECEIVE,
    from_position: First = None,
    upto_position: Upto = None,
    instance: Instance = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Send a range once more to a subscription, whatever its client has acknowledged or holds.

    For a home base that lost data although it had acknowledged them. A running session is ended, and its client comes
    back for the range; live data go on beside it. A store keeps each position once.
    """
    with readable_errors():
        from gateway.console.playback import Place, Range, order_resend

        span = Range(from_utc, to_utc, by.value, from_position, upto_position)
        order_resend(Place(url, instance), home, subscription, span, as_json)
