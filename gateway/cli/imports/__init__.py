"""Other gateways' configurations turned into a home, with a list of all that could not be carried over.

Nothing is invented: what has no exact counterpart is left out and listed with its path in the source file. A
credential written out in the source is never copied; the home names a variable instead.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gateway.cli.imports import litellm, portkey
from gateway.cli.imports.draft import Draft, Surface
from gateway.errors import ConfigError
from gateway.runtime.document import MAX_BYTES, read_document


def import_from(file: Path, surface: Surface) -> Draft:
    """Return what `file` says in our words. Raises: ConfigError when it is neither kind of configuration."""
    source = _read(file)
    draft = Draft(surface)
    if "model_list" in source:
        litellm.carry_over(source, draft)
    elif "targets" in source or "provider" in source or "virtual_key" in source:
        portkey.carry_over(source, draft)
    else:
        cure = "a LiteLLM configuration has model_list, a Portkey one targets or provider"
        raise ConfigError("this is no LiteLLM and no Portkey configuration", file=str(file), cure=cure)
    return draft


def _read(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=str(file), cure="check the name") from None
    if content.lstrip()[:1] == b"{":
        # JSON by its own reader: YAML refuses the tabs that JSON allows.
        try:
            source = json.loads(content)
        except json.JSONDecodeError as error:
            raise ConfigError(error.msg, file=str(file), line=error.lineno, column=error.colno) from None
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"not JSON: {type(error).__name__}", file=str(file)) from None
    else:
        source = read_document(content, str(file)).plain()
    if not isinstance(source, dict):
        raise ConfigError("must be a mapping", file=str(file))
    # Portkey wraps a stored configuration when it is fetched through its API.
    inner = source.get("config")
    return inner if isinstance(inner, dict) and "model_list" not in source else source
