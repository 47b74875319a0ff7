"""A configuration that is refused changes nothing, the form of the log included."""

from __future__ import annotations

import pytest

from gateway.errors import ConfigError
from gateway.testing import running_gateway

HOME = (
    "version: 1\nplugins: [{{access_log: {{format: {form}}}}}, {more}]\nroutes: [{{name: e, targets: [echo/echo]}}]\n"
)


async def test_refused_configuration_leaves_the_form_of_log_lines() -> None:
    async with running_gateway(HOME.format(form="json", more="cors")) as gateway:
        gateway.configure(HOME.format(form="text", more="{timeouts: {idle: 0s}}"))
        with pytest.raises(ConfigError):
            await gateway.reloader.reload("test")
        await gateway.get("/nowhere")
        assert gateway.events("request")  # read as JSON: a line of text could not be
