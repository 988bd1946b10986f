"""The command line `gateway`: typer commands over the same service and API that everybody else uses."""
