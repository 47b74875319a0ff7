"""What a step is told: its prompt, the client's conversation as it came, and what the steps before it said.

The prompt and the client's own system message are one system message, the prompt first. The results so far stand at the
end of the user's last message, each between tags named after its step. Neither is a message of its own, because the
templates of many local models take one system message, and then nothing but user and assistant in turn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from gateway.plugin import ChatReply, Message, Part, Refusal, Text

_SYSTEM = ("system", "developer")


def told(prompt: str, conversation: Sequence[Message], added: str = "") -> tuple[Message, ...]:
    """Return the messages of a step; `added` is put behind the user's own words."""
    start = next((at for at, each in enumerate(conversation) if each.role not in _SYSTEM), len(conversation))
    instructions = [part for message in conversation[:start] for part in message.parts]
    turns = list(conversation[start:])
    if prompt:
        instructions = [Text(text=prompt), *instructions]
    system = (Message(role="system", parts=_joined(instructions)),) if instructions else ()
    if added and turns and turns[-1].role == "user":
        turns[-1] = replace(turns[-1], parts=_joined([*turns[-1].parts, Text(text=added)]))
    elif added:
        turns.append(Message(role="user", parts=(Text(text=added),)))
    return (*system, *turns)


def _joined(parts: Sequence[Part]) -> tuple[Part, ...]:
    """Return `parts` with neighbouring plain texts as one: some servers take nothing but a string as content."""
    found: list[Part] = []
    for part in parts:
        last = found[-1] if found else None
        if isinstance(last, Text) and isinstance(part, Text) and _is_plain(last) and _is_plain(part):
            found[-1] = Text(text=f"{last.text}\n\n{part.text}")
        else:
            found.append(part)
    return tuple(found)


def _is_plain(part: Text) -> bool:
    return part.cache_control is None and not part.annotations and not part.extra


def results(said: Mapping[str, str]) -> str:
    """Return what the steps before said, in their order."""
    if not said:
        return ""
    parts = [f"<{name}>\n{text}\n</{name}>" for name, text in said.items()]
    return "\n\n".join(["What the steps before this one found:", *parts])


def task(text: str) -> str:
    """Return a worker's task as it is told."""
    return f"<task>\n{text}\n</task>"


def tasks_done(tasks: Sequence[str], done: Sequence[tuple[str, bool]]) -> str:
    """Return every task with what came of it: the words, and whether it was done."""
    parts = []
    for number, (asked, (text, is_done)) in enumerate(zip(tasks, done, strict=True), 1):
        status = "done" if is_done else "failed"
        parts.append(f'<task number="{number}">\n{asked}\n</task>')
        parts.append(f'<result number="{number}" status="{status}">\n{text}\n</result>')
    return "\n\n".join(["What the workers found:", *parts])


def words_of(reply: ChatReply) -> str:
    """Return the text of an answer; a refusal's and thinking's are not it."""
    return "".join(part.text for part in reply.parts if isinstance(part, Text))


def is_refusal(reply: ChatReply) -> bool:
    """Return whether the model would not."""
    return reply.stop == "refusal" or any(isinstance(part, Refusal) for part in reply.parts)
