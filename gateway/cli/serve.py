"""`gateway serve`: run until told to stop. A flag wins over the environment, the environment over the file."""

from __future__ import annotations

import click

from gateway.cli.home import home_argument
from gateway.runtime.listen import parse_listen
from gateway.runtime.surface import MOST_WORKERS
from gateway.supervisor import ServeOptions, run
from gateway.telemetry import LEVELS


def _address(_ctx: click.Context, param: click.Parameter, text: str | None) -> str | None:
    if text is None or (param.name == "admin" and text == "off"):
        return text
    try:
        parse_listen(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return text


@click.command()
@home_argument
@click.option(
    "--listen", envvar="GATEWAY_LISTEN", metavar="H:P", callback=_address, help="Where to serve; port 0 picks one."
)
@click.option(
    "--admin", envvar="GATEWAY_ADMIN_LISTEN", metavar="H:P", callback=_address, help="The dashboard's address, or off."
)
@click.option(
    "--workers",
    envvar="GATEWAY_WORKERS",
    metavar="N",
    type=click.IntRange(1, MOST_WORKERS),
    help="Processes on one port.",
)
@click.option(
    "--log-level",
    envvar="LOG_LEVEL",
    metavar="L",
    type=click.Choice(list(LEVELS), case_sensitive=False),
    help=f"One of {', '.join(LEVELS)}.",
)
@click.option("--watch/--no-watch", default=True, help="Reload when a file of the configuration changes.")
@click.pass_context
def serve(
    ctx: click.Context,
    home: str | None,
    listen: str | None,
    admin: str | None,
    workers: int | None,
    log_level: str | None,
    watch: bool,
) -> None:
    """Serve until SIGTERM (lame duck, then grace) or SIGINT (grace only); a second signal stops now.

    SIGHUP reloads the configuration.
    """
    options = ServeOptions(home=home, listen=listen, admin=admin, workers=workers, log_level=log_level, watch=watch)
    ctx.exit(run(options))
