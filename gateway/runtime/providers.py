"""The `providers:` section: what the file says of each, laid over what config/providers.yaml knows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from gateway.errors import ConfigError
from gateway.runtime.config import Place, ProviderConfig
from gateway.runtime.document import Node
from gateway.runtime.found import Found
from gateway.runtime.home import Home
from gateway.runtime.known import KnownProvider
from gateway.runtime.surface import PROVIDER
from gateway.runtime.text import duration, percent
from gateway.runtime.validate import Rules, check, suggest
from gateway.secret import Secret
from gateway.upstream.connect import tls_context

_RULES: Final = Rules(PROVIDER)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)  # RFC 9110, section 5.6.2
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_NOT_OURS: Final = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
     "transfer-encoding", "upgrade", "host", "content-length", "expect"}
)  # fmt: skip
_ECHO_ONLY: Final = ("delay", "fail")
_OLLAMA_ONLY: Final = ("num_ctx", "keep_alive")


class ProviderReader:
    """Reads the entries of `providers:`; collects errors and warnings."""

    def __init__(
        self, home: Home, environ: Mapping[str, str], known: Mapping[str, KnownProvider], errors: Found
    ) -> None:
        self.home, self.environ, self.known = home, environ, known
        self.errors = errors
        self.warnings: list[str] = []

    def read(self, name: str, node: Node, path: str, place: Place) -> ProviderConfig | None:
        """Return the provider, None when it is wrong; why is then in `errors`."""
        before = len(self.errors)
        if not _NAME.fullmatch(name):
            self._complain(
                place, f'"{name}" is no provider name', "use letters, digits, dot, dash and underscore, 64 at most"
            )
        found = check(node, _RULES, path)
        self.errors.extend(found)
        if found or node.is_broken():
            return None
        given: dict[str, Any] = node.plain() or {}
        known = self.known.get(name)
        dialect = given.get("dialect") or (known.dialect if known else None)
        if dialect is None:
            near = suggest(name, self.known)
            cure = near if near.startswith("did") else "add dialect: and base_url:, or use a known name"
            self._complain(place, f'"{name}" is not a known provider and has no dialect', cure)
            return None
        base_url = given.get("base_url") or (known.base_url if known else None) or ""
        if dialect != "echo":
            base_url = self._base_url(name, base_url, dialect, node, path, place)
        self._only(given, _ECHO_ONLY, dialect, "echo", node, path)
        self._only(given, _OLLAMA_ONLY, dialect, "ollama", node, path)
        headers = self._headers(node, path)
        credentials, needs_key = self._credentials(name, given, known, node, path)
        tls = given.get("tls", {})
        proxy = self._proxy(node, path)
        if len(self.errors) > before:
            return None
        provider = ProviderConfig(
            name=name,
            dialect=dialect,
            base_url=base_url,
            credentials=credentials,
            needs_key=needs_key,
            key_variable=known.key_variable if known else None,
            auth=given.get("auth", "key"),
            headers=headers,
            transport=given.get("transport") or ("http" if proxy else "direct"),
            proxy=proxy,
            tls_verify=tls.get("verify", True),
            tls_ca=self._tls_ca(tls, node, path),
            free=given.get("free", known.free if known else dialect == "echo"),
            quirks=_quirks(given, known),
            place=place,
        )
        return None if len(self.errors) > before else provider

    def _base_url(self, name: str, url: str, dialect: str, node: Node, path: str, place: Place) -> str:
        at = node.find(["base_url"])
        here = Place(at.file, at.line, at.column, f"{path}.base_url") if at is not node else place
        if not url:
            self._complain(place, f'"{name}" has no base_url', "add one, such as https://host/v1")
            return ""
        problem = _url_problem(url)
        if problem:
            # SECURITY: the URL itself may hold a password, so it is not shown.
            self._complain(
                here, f"this base_url {problem}", "write scheme, host and path alone, such as https://host/v1"
            )
            return ""
        url = url.rstrip("/")
        if dialect in ("anthropic", "ollama") and url.endswith("/v1"):
            self.warnings.append(
                f"{path}: the base_url of dialect {dialect} does not include /v1; "
                "remove it unless the server wants it twice"
            )
        return url

    def _only(
        self, given: Mapping[str, Any], keys: tuple[str, ...], dialect: str, owner: str, node: Node, path: str
    ) -> None:
        for key in keys:
            if key in given and dialect != owner:
                self.errors.append(
                    node.key_error(key, f'"{key}" is for dialect {owner} alone', path=path, cure="remove it")
                )

    def _headers(self, node: Node, path: str) -> dict[str, str]:
        headers: dict[str, str] = {}
        holder = node.find(["headers"])
        for name, value in holder.value.items() if holder is not node and isinstance(holder.value, dict) else ():
            where = f"{path}.headers"
            if not _HEADER_NAME.fullmatch(name):
                self.errors.append(
                    holder.key_error(name, "this is no header name", path=where, cure="use letters, digits and dashes")
                )
            elif name.lower() in _NOT_OURS:
                self.errors.append(
                    holder.key_error(
                        name, f'the header "{name}" belongs to the connection', path=where, cure="remove it"
                    )
                )
            elif name.lower() in {known.lower() for known in headers}:
                problem = f'the header "{name}" stands here twice'
                self.errors.append(holder.key_error(name, problem, path=where, cure="remove one"))
            elif not _HEADER_VALUE.fullmatch(str(value.value)):
                self.errors.append(
                    value.error("this header value holds a control character", path=f"{where}.{name}", cure="remove it")
                )
            else:
                headers[name] = str(value.value).strip()
        return headers

    def _credentials(
        self, name: str, given: Mapping[str, Any], known: KnownProvider | None, node: Node, path: str
    ) -> tuple[tuple[Secret, ...], bool]:
        """Return the keys that are not empty, and whether having none disables the provider; warn when it does."""
        if "api_key" in given and "api_keys" in given:
            self.errors.append(
                node.key_error(
                    "api_keys", "api_key and api_keys together", path=path, cure="keep one; api_keys takes several"
                )
            )
        at = node.find(["api_key"]) if "api_key" in given else node.find(["api_keys"])
        nodes = [] if at is node else at.value if isinstance(at.value, list) else [at]
        keys: list[Secret] = []
        for one in nodes:
            text = "" if one.value is None else str(one.value).strip()
            if any(not "!" <= character <= "~" for character in text):
                self.errors.append(
                    one.error(
                        "this key holds a space or a control character", path=path, cure="give the key alone, in ASCII"
                    )
                )
            elif text:
                keys.append(Secret(text))
        variable = known.key_variable if known else None
        named = any(key in given for key in ("api_key", "api_keys"))
        if not named and variable:
            from_environment = self.environ.get(variable, "").strip()
            if any(not "!" <= character <= "~" for character in from_environment):
                self.errors.append(
                    node.error(
                        f"the key in {variable} holds a space or a control character",
                        path=path,
                        cure="set it to the key alone",
                    )
                )
            elif from_environment:
                keys.append(Secret(from_environment))
        if given.get("auth") == "passthrough":
            return tuple(keys), False
        # What is known decides; of an unknown provider, naming a key says that it wants one.
        needs_key = known.needs_key if known else named
        if needs_key and not keys:
            variables = list(dict.fromkeys(variable for one in nodes for variable in one.variables)) or (
                [variable] if variable else []
            )
            cure = f"set {' or '.join(variables)}" if variables else "give it an api_key"
            self.warnings.append(f'{path}: provider "{name}" is disabled, its key is empty; {cure}')
        return tuple(keys), needs_key

    def _proxy(self, node: Node, path: str) -> str | None:
        at = node.find(["proxy"])
        if at is node or not at.value:
            return None
        problem = _url_problem(str(at.value))
        if problem and "user" not in problem:
            self.errors.append(at.error(f"this proxy {problem}", path=f"{path}.proxy", cure="write http://host:port"))
        transport = node.find(["transport"])
        if transport is not node and transport.value == "direct":
            self.errors.append(
                transport.error("a proxy needs transport http", path=f"{path}.transport", cure="remove transport:")
            )
        return str(at.value)

    def _tls_ca(self, tls: Mapping[str, Any], node: Node, path: str) -> Path | None:
        if "ca" not in tls:
            return None
        at = node.find(["tls", "ca"])
        file = (self.home.folder / at.file).parent / str(at.value)
        if not file.is_file():
            self.errors.append(
                at.error("no such file", path=f"{path}.tls.ca", cure="a relative path starts at the file it stands in")
            )
            return file
        try:
            tls_context(file)
        except OSError:  # ssl.SSLError is one
            self.errors.append(
                at.error("this file holds no certificate", path=f"{path}.tls.ca", cure="name a readable PEM file")
            )
        return file

    def _complain(self, place: Place, problem: str, cure: str) -> None:
        self.errors.append(
            ConfigError(problem, file=place.file, line=place.line, column=place.column, path=place.path, cure=cure)
        )


def _quirks(given: Mapping[str, Any], known: KnownProvider | None) -> dict[str, Any]:
    quirks = {**(known.quirks if known else {}), **given.get("quirks", {})}
    for key in ("num_ctx", "keep_alive"):
        if key in given:
            quirks[key] = given[key]
    if "delay" in given:
        quirks["delay_s"] = duration(given["delay"])
    if "fail" in given:
        quirks["fail"] = percent(given["fail"])
    return quirks


def _url_problem(url: str) -> str:
    """Return what is wrong with a URL to send requests to, empty when nothing is."""
    if any(not "!" <= character <= "~" for character in url):
        return "holds a space or a character that is not ASCII"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "has a bad host or port"
    if parts.scheme not in ("http", "https"):
        return "does not begin with http:// or https://"
    if not parts.hostname or port == 0:
        return "names no host"
    if parts.username is not None or parts.password is not None:
        return "holds a user name or password"
    if "?" in url or "#" in url:
        return "holds a query or a fragment"
    return ""


def echo_provider(file: str) -> ProviderConfig:
    """Return the built-in echo as it is when the file does not name it."""
    return ProviderConfig(
        name="echo", dialect="echo", base_url="", credentials=(), needs_key=False, key_variable=None, auth="key",
        headers={}, transport="direct", proxy=None, tls_verify=True, tls_ca=None, free=True, quirks={},
        place=Place(file, 0, 0, "providers.echo"),
    )  # fmt: skip
