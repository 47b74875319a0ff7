"""An ordinary program for Anthropic: thinking, a tool, a stream, a token count. It knows nothing of OpenAI;
the SDK takes ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY from the environment."""

from anthropic import Anthropic

client = Anthropic()
MODEL = "claude-haiku-4-5"
tools = [
    {
        "name": "get_weather",
        "description": "Say what the weather is like in a city.",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    }
]
messages = [{"role": "user", "content": "What is the weather like in Bern?"}]

count = client.messages.count_tokens(model=MODEL, system="Be brief.", messages=messages, tools=tools)
print("tokens, at most:", count.input_tokens)

first = client.messages.create(
    model=MODEL, max_tokens=2000, system="Be brief.", messages=messages, tools=tools, tool_choice={"type": "any"}
)
call = next(block for block in first.content if block.type == "tool_use")
print("tool:", call.name, "|", first.stop_reason)

messages += [
    {"role": "assistant", "content": first.content},
    {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "Sunny, 21 degrees in Bern."}],
    },
]
with client.messages.stream(model=MODEL, max_tokens=2000, system="Be brief.", messages=messages, tools=tools) as stream:
    for text in stream.text_stream:
        print("piece:", text)
    final = stream.get_final_message()
print("stopped:", final.stop_reason, "| model:", final.model, "| tokens:", final.usage.output_tokens)

raw = client.messages.with_raw_response.create(
    model=MODEL, max_tokens=2000, messages=[{"role": "user", "content": "Hello."}], extra_body={"top_k": 5}
)
print("left out for OpenAI:", raw.headers.get("x-gateway-dropped"))
