"""All that a plugin needs is in `gateway.plugin`."""

from __future__ import annotations

from gateway.testing import running_gateway

PLUGIN = """
    from decimal import Decimal
    from gateway.plugin import MoneyRate, Plugin, Rate, Reply

    class Own(Plugin):
        options_schema = {
            "type": "object",
            "properties": {
                "rate": {"type": "string", "format": "rate"},
                "money": {"type": "string", "format": "money"},
                "share": {"type": "string", "format": "percent"},
            },
        }

        async def handle(self, exchange, call_next):
            wanted = {"rate": Rate(60, 60.0), "money": MoneyRate(Decimal("2.5"), "day"), "share": 0.05}
            return Reply(200, None, b"same") if self.options == wanted else Reply(500, None, repr(self.options).encode())
"""


async def test_rates_and_money_arrive_as_objects_a_plugin_can_name() -> None:
    config = 'plugins: [own: {rate: 60/min, money: "$2.5/day", share: 5%}]\nproviders: {echo: {}}'
    async with running_gateway(config, plugins={"own": PLUGIN}) as gateway:
        assert (await gateway.get("/health")).body == b"same"
