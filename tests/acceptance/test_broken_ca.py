"""A certificate file that holds none is a mistake in the configuration, with its place."""

from __future__ import annotations

import pytest

from gateway.errors import ConfigErrors
from gateway.testing import running_gateway


async def test_a_certificate_file_that_holds_none_is_told_with_its_place() -> None:
    config = 'providers: {x: {dialect: openai, base_url: "https://h/v1", api_key: k, tls: {ca: bad.pem}}}'
    with pytest.raises(ConfigErrors) as refused:
        async with running_gateway(config, files={"bad.pem": "not a certificate"}):
            pass
    (error,) = refused.value.errors
    assert error.line == 2 and error.path == "providers.x.tls.ca" and error.cure
