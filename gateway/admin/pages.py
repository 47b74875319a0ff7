"""Pages out of templates: the one place that knows the template engine."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp_jinja2
from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from gateway import __version__
from gateway.admin.figures import FILTERS, shown
from gateway.admin.files import address

if TYPE_CHECKING:
    from gateway.admin.desk import Desk, Templates

FOLDER = Path(__file__).parent / "templates"


def render(
    desk: Desk, request: web.Request, template: str, facts: Mapping[str, Any], key: web.AppKey[Templates]
) -> web.Response:
    """Return `template` with `facts`, the names every page has beside them."""
    common = {
        "version": __version__,
        "digest": desk.gateway.snapshot.digest,
        "path": request.path,
        "now": desk.clock.time(),
        "operator": desk.gateway.snapshot.config.admin.token is not None,
        "banner": desk.banner(),
    }
    return aiohttp_jinja2.render_template(template, request, {**common, **facts}, app_key=key)  # type: ignore[arg-type]


class Engine:
    """The templates of the dashboard."""

    @cached_property
    def environment(self) -> Environment:
        """SECURITY: everything is escaped, and a name that is missing is an error."""
        made = Environment(
            loader=FileSystemLoader(FOLDER),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        made.filters.update(FILTERS)
        made.globals.update(static=address, shown=shown)
        return made

    def get_template(self, name: str) -> Template:
        """Return a template by its file's name."""
        return self.environment.get_template(name)
