"""`gateway token`: mint a JWT with the configured secret."""

from __future__ import annotations

import re
import uuid
from typing import Any

import click

from gateway import credentials
from gateway.cli.home import home_argument, load
from gateway.errors import ConfigError
from gateway.runtime import written
from gateway.runtime.clock import SystemClock
from gateway.runtime.text import duration
from gateway.secret import Secret

DEFAULT_S = 7 * 86400.0
_SUBJECT = re.compile(r"[!-~]{1,128}", re.ASCII)


@click.command()
@home_argument
@click.option("--sub", default="user", show_default=True, metavar="S", help="Who it is for: the principal's name.")
@click.option("--expires-in", metavar="TIME", help="How long it holds: 30s, 15m, 12h, 7d (the default) or 2w.")
def token(home: str | None, sub: str, expires_in: str | None) -> None:
    """Print a token signed with jwt.secret of the plugin auth."""
    if not _SUBJECT.fullmatch(sub):
        raise click.UsageError("--sub: 1 to 128 visible ASCII characters without spaces")
    given = _options(home)
    longest_s = float(given["max_lifetime"])
    lasts_s = min(DEFAULT_S, longest_s) if expires_in is None else _seconds(expires_in)
    if lasts_s > longest_s:
        raise click.UsageError(f"--expires-in: jwt.max_lifetime allows {written.duration(longest_s)} at most")
    now = int(SystemClock().time())
    claims: dict[str, Any] = {"sub": sub, "iat": now, "exp": now + int(lasts_s), "jti": uuid.uuid4().hex}
    if given.get("issuer"):
        claims["iss"] = given["issuer"]
    if given.get("audience"):
        claims["aud"] = given["audience"]
    click.echo(credentials.mint(Secret(given["secret"]), claims))


def _options(home: str | None) -> dict[str, Any]:
    """Return the options under jwt. Raises: ConfigError when there is no secret to sign with."""
    auth = next((plugin.options or {} for plugin in load(home).config.plugins if plugin.name == "auth"), None)
    if auth is None:
        raise ConfigError("the plugin auth is not in the chain", cure="list it under plugins: with a jwt.secret")
    given: dict[str, Any] = dict(auth.get("jwt") or {})
    if given.get("jwks_url"):
        raise ConfigError("tokens of this home come from the issuer of jwt.jwks_url", cure="ask it for one")
    if not given.get("secret"):
        raise ConfigError(
            "no jwt.secret is configured", cure="set it (or the variable it is taken from) to 32 characters or more"
        )
    return given


def _seconds(text: str) -> float:
    try:
        seconds = duration(text)
    except ValueError as error:
        raise click.UsageError(f"--expires-in: {error}") from None
    if seconds < 1:
        raise click.UsageError("--expires-in: write 1s or more")
    return seconds
