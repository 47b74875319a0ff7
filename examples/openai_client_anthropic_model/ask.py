"""An ordinary program for OpenAI: a tool by chat, a stream, structured output by Responses. It knows nothing of
Anthropic; the SDK takes OPENAI_BASE_URL and OPENAI_API_KEY from the environment."""

import json

from openai import OpenAI
from pydantic import BaseModel

client = OpenAI()
MODEL = "gpt-5-mini"
tools = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Say what the weather is like in a city.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]
messages = [
    {"role": "developer", "content": "Be brief."},
    {"role": "user", "content": "What is the weather like in Bern?"},
]

first = client.chat.completions.create(model=MODEL, messages=messages, tools=tools, tool_choice="required")
call = first.choices[0].message.tool_calls[0]
print("tool:", call.function.name, sorted(json.loads(call.function.arguments)), "|", first.choices[0].finish_reason)

messages += [
    first.choices[0].message,
    {"role": "tool", "tool_call_id": call.id, "content": "Sunny, 21 degrees in Bern."},
]
stream = client.chat.completions.create(
    model=MODEL, messages=messages, tools=tools, stream=True, stream_options={"include_usage": True}
)
for chunk in stream:
    if chunk.choices and chunk.choices[0].delta.content:
        print("piece:", chunk.choices[0].delta.content)
    if chunk.choices and chunk.choices[0].finish_reason:
        print("stopped:", chunk.choices[0].finish_reason, "| model:", chunk.model)
    if chunk.usage:
        print("tokens:", chunk.usage.completion_tokens)


class Weather(BaseModel):
    city: str
    degrees: int


with client.responses.stream(model=MODEL, input="Sunny, 21 degrees in Bern.", text_format=Weather) as events:
    for event in events:
        if event.type == "response.completed":
            print("structured:", sorted(event.response.output_parsed.model_dump()))

raw = client.chat.completions.with_raw_response.create(
    model=MODEL, messages=[{"role": "user", "content": "Hello."}], seed=7
)
print("left out for Anthropic:", raw.headers.get("x-gateway-dropped"))
