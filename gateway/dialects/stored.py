"""What a Responses request takes from OpenAI's own servers, which no other target has (P12)."""

from __future__ import annotations

from gateway.chat import ChatRequest, Opaque
from gateway.errors import BadRequest

_STORED = ("previous_response_id", "conversation", "prompt", "background")


def refuse_stored(chat: ChatRequest) -> None:
    """Refuse a request whose history or prompt lies elsewhere: left out, the model would answer to an empty one.

    For every renderer of another dialect than Responses. Raises: BadRequest.
    """
    if chat.dialect != "openai_responses":
        return
    for name in _STORED:
        if chat.extra.get(name):
            raise BadRequest(f"{name} cannot be used with this target; send the whole input", param=name)
    for message in chat.messages:
        for part in message.parts:
            if isinstance(part, Opaque) and part.kind == "item_reference":
                raise BadRequest("an item_reference cannot be used with this target; send the item", param="input")
