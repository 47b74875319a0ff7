"""What a plugin refuses is told at the option's own place."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.runtime.pointed import pointed
from gateway.testing import running_gateway

FILE = """\
version: 1
plugins:
  - timeouts
  - serves:
      flows:
        a.b: {steps: [{model: x}, {model: y}]}
        "c:d": [1]
  - use: my.py:Other
    name: other
    options: {limit: 0}
routes: [{name: r, targets: [echo/echo], plugins: [{serves: {flows: {}}}]}]
"""
REFUSES = """
    from gateway.plugin import ConfigError, Plugin

    class Refuses(Plugin):
        options_schema = {"type": "object", "properties": {"limits": {"type": "array"}}}

        def __init__(self, options, services):
            raise ConfigError("limits[1].per: nobody is counted so", cure="count somebody")
"""


@pytest.mark.parametrize(
    ("place", "path", "problem", "told"),
    [
        (4, "plugins[1]", "flows.a.b.steps[1].model: gone", "6:43: plugins[1].serves.flows.a.b.steps[1].model: gone"),
        (4, "plugins[1]", "flows.a.b.steps[1].prompt: gone", "6:35: plugins[1].serves.flows.a.b.steps[1].prompt: gone"),
        (4, "plugins[1]", "flows.a.b.steps[7]: gone", "6:22: plugins[1].serves.flows.a.b.steps[7]: gone"),
        (4, "plugins[1]", "flows.c:d[0]: gone", "7:17: plugins[1].serves.flows.c:d[0]: gone"),
        (4, "plugins[1]", "flows: a: gone", "6:9: plugins[1].serves.flows: a: gone"),
        (8, "plugins[2]", "limit: is 0", "10:22: plugins[2].limit: is 0"),
        (11, "routes[0].plugins[0]", "flows: gone", "11:69: routes[0].plugins[0].serves.flows: gone"),
        (4, "plugins[1]", "flows are gone", "4:5: plugins[1]: flows are gone"),
        (4, "plugins[1]", "model: gone", "4:5: plugins[1]: model: gone"),
        (3, "plugins[0]", "total: gone", "3:5: plugins[0]: total: gone"),
        (4, "plugins[1].serves.flows", "flows: gone", "4:5: plugins[1].serves.flows: flows: gone"),
        (9, "plugins[1]", "flows: gone", "9:5: plugins[1]: flows: gone"),
    ],
)
def test_a_refusal_stands_at_the_option_that_it_names(
    tmp_path: Path, place: int, path: str, problem: str, told: str
) -> None:
    (tmp_path / "gateway.yaml").write_text(FILE)
    column = 52 if path.startswith("routes") else 5
    error = ConfigError(problem, file="gateway.yaml", line=place, column=column, path=path)
    assert str(pointed(error, tmp_path)) == f"gateway.yaml:{told}"


def test_a_file_that_is_gone_leaves_a_refusal_at_its_entry(tmp_path: Path) -> None:
    error = ConfigError("flows: gone", file="gateway.yaml", line=4, column=5, path="plugins[1]")
    assert pointed(error, tmp_path) is error


async def test_a_plugin_of_an_included_file_is_told_there() -> None:
    files = {"more/plugins.yaml": 'plugins:\n  - refuses:\n      limits:\n        - {}\n        - {per: "${WHO}"}\n'}
    with pytest.raises(ConfigError) as refused:
        async with running_gateway(
            "include: [more/plugins.yaml]\nplugins: [timeouts]\nroutes: [{name: r, targets: [echo/echo]}]",
            plugins={"refuses": REFUSES},
            files=files,
            environ={"WHO": "canary"},
        ):
            pass
    assert str(refused.value) == (
        "more/plugins.yaml:5:17: plugins[0].refuses.limits[1].per: nobody is counted so; count somebody"
    )
