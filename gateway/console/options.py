"""What all commands share: options, and how errors are told."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, NoReturn

import typer

from gateway.console.harmless import harmless
from gateway.errors import GatewayError, UsageError

Url = Annotated[str, typer.Option("--url", envvar="GATEWAY_URL", help="Address of the running gateway.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
DEFAULT_URL = "http://127.0.0.1:8440"


def fail(message: str, hint: str = "", code: int = 1) -> NoReturn:
    """Print an error and the way out on standard error, and exit; what it quotes harms no terminal."""
    typer.secho(f"error: {harmless(message)}", fg="red", err=True)
    if hint:
        typer.echo(f"  hint: {harmless(hint)}", err=True)
    raise typer.Exit(code)


@contextmanager
def readable_errors() -> Iterator[None]:
    """Turn the gateway's own errors, file errors and Ctrl-C into a line and an exit code."""
    try:
        yield
    except UsageError as error:
        fail(str(error), error.hint, 2)
    except GatewayError as error:
        fail(str(error), error.hint)
    except BrokenPipeError:  # the reader of our output has enough: `gateway events | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(141) from None
    except OSError as error:
        fail(str(error))
    except ValueError as error:
        from gateway_config import ConfigError  # late: who only asks a gateway needs no models of a configuration

        if not isinstance(error, ConfigError):
            raise
        typer.secho(str(error), fg="red", err=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        raise typer.Exit(130) from None
