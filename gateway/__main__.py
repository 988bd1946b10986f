"""`python -m gateway` and the `gateway` command."""

from __future__ import annotations

from gateway import garbage


def main() -> None:
    """Run the command line."""
    garbage.look_rarely()
    from gateway.console.app import app

    app()


if __name__ == "__main__":
    main()
