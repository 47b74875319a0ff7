"""Headers that belong to one connection stay on it, however many lines declare them."""

from __future__ import annotations

from multidict import CIMultiDict

from gateway.relay.headers import connection_listed, for_client
from gateway.testing import ScriptedUpstream, reply_json, running_gateway

GOOD = {
    "id": "x",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
}


def test_every_line_of_connection_counts() -> None:
    headers = CIMultiDict([("Connection", "keep-alive"), ("connection", "X-Hop, x-other")])
    assert connection_listed(headers) == {"keep-alive", "x-hop", "x-other"}
    assert connection_listed(CIMultiDict({"connection": "keep-alive"})) == ()
    assert list(for_client(CIMultiDict([*headers.items(), ("x-hop", "1"), ("x-kept", "2")]))) == ["x-kept"]


async def test_what_a_second_connection_line_lists_does_not_go_upstream_or_back() -> None:
    hop = [("Connection", "keep-alive"), ("Connection", "x-hop"), ("x-hop", "1"), ("x-kept", "2")]
    async with ScriptedUpstream(reply_json(GOOD, headers=hop)) as upstream:
        config = f"""
            providers: {{up: {{dialect: openai, base_url: "{upstream.url}/v1", api_key: key-of-up-0001}}}}
            routes: [{{name: r, targets: ["up/*"]}}]
        """
        async with running_gateway(config) as gateway:
            url = gateway.url + "/v1/chat/completions"
            async with gateway.session.post(url, json={"model": "m", "messages": []}, headers=hop) as answer:
                assert answer.headers["x-kept"] == "2"
                assert "x-hop" not in answer.headers
        assert upstream.requests[0].header("x-kept") == "2"
        assert upstream.requests[0].header("x-hop") == ""
