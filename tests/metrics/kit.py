"""Reading what /metrics says."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from gateway.testing import ClientAnswer, RunningGateway

PREFIX = "llm_gateway_"
ASKED = {"model": "echo", "messages": [{"role": "user", "content": "one two three"}]}
CHAT = "/v1/chat/completions"


class Numbers:
    """The samples of one scrape, by the contract's names."""

    def __init__(self, text: str, *, openmetrics: bool = False) -> None:
        families = list((parse_openmetrics if openmetrics else parse_text)(text))
        self.kinds = {family.name: family.type for family in families}
        self.samples = [(sample.name, sample.labels, sample.value) for family in families for sample in family.samples]
        assert all(name.startswith(PREFIX) for name, _, _ in self.samples)

    def of(self, name: str, **labels: str) -> float:
        """Return the sum of the samples that have these labels."""
        found = [value for each, has, value in self.samples if each == PREFIX + name and labels.items() <= has.items()]
        return sum(found)

    def by(self, name: str, label: str) -> Mapping[str, float]:
        """Return the sums by a label's value."""
        values = {has[label] for each, has, _ in self.samples if each == PREFIX + name}
        return {value: self.of(name, **{label: value}) for value in values}


def numbers(answer: ClientAnswer) -> Numbers:
    assert answer.status == 200, answer.body
    return Numbers(answer.body.decode())


async def scrape(gateway: RunningGateway) -> Numbers:
    """Scrape, once every request before has ended."""
    await gateway.settled()
    return numbers(await gateway.get("/metrics"))
