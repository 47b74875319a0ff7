"""The command line: `gateway COMMAND`. One file a command, loaded when the command is used.

Exit codes: 0 done, 1 it could not, 2 wrong usage or a configuration that may not run.
"""

from __future__ import annotations

import gc
import importlib
from difflib import get_close_matches
from typing import Any, Final

import click

from gateway import __version__
from gateway.errors import ConfigError

COMMANDS: Final = {
    "serve": "run the gateway until SIGTERM or SIGINT",
    "check": "prove that a home's configuration can run",
    "explain": "say which route takes a request, why, and what happens then",
    "routes": "show the routes as they are in effect",
    "plugins": "show the plugins, in the chain and available",
    "init": "write a new home, or import another gateway's configuration",
    "keys": "make, list and revoke virtual keys",
    "token": "mint a token with the configured secret",
    "chat": "talk to a running gateway in this terminal",
    "schema": "print the JSON Schema of gateway.yaml",
}
"""Every command with its line of help; the module is `gateway.cli.NAME`, the function in it `NAME`."""


class _Commands(click.Group):
    """Loads a command's module when it is named: `check` needs neither the server nor a client library."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(f"gateway.cli.{cmd_name}"), cmd_name)
        if not gc.isenabled():  # as `main` left it
            gc.freeze()
            gc.enable()
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            near = get_close_matches(args[0], COMMANDS, n=1)
            cure = f'did you mean "{near[0]}"?' if near else f"there are: {', '.join(COMMANDS)}"
            ctx.fail(f'no command "{args[0]}"; {cure}')
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # From the table: help must not load every command.
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            click.echo(str(error), err=True)
            ctx.exit(2)


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="gateway", message="%(prog)s %(version)s")
def gateway() -> None:
    """LLM Gateway: a reverse proxy between applications and LLM providers.

    HOME is a folder with gateway.yaml, or the file itself; default: the current folder, else $GATEWAY_HOME.
    """


def main() -> None:
    """Run the command line and exit with its code."""
    # What a command loads stays for good: the collector would walk all of it ten times over meanwhile, a tenth of the
    # start, and once more whenever it looks at everything.
    gc.disable()
    gateway(prog_name="gateway")
