"""`python -m gateway` and the `gateway` command."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from gateway.console.app import app

    app()


if __name__ == "__main__":
    main()
