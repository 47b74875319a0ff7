"""Ask the local model through the gateway, with the OpenAI SDK and the Anthropic SDK, plain and streamed.

The SDKs take OPENAI_BASE_URL and ANTHROPIC_BASE_URL from the environment; see README.md.
"""

from anthropic import Anthropic
from openai import OpenAI

question = "Tell me about the sea in one sentence."

openai = OpenAI()
chat = openai.chat.completions.create(
    model="smollm2", messages=[{"role": "user", "content": question}], max_tokens=40, temperature=0
)
print("chat:", chat.choices[0].message.content, "|", chat.usage.completion_tokens, "tokens")
pieces = [
    chunk.choices[0].delta.content
    for chunk in openai.chat.completions.create(
        model="smollm2",
        messages=[{"role": "user", "content": question}],
        max_tokens=40,
        temperature=0,
        stream=True,
    )
    if chunk.choices and chunk.choices[0].delta.content
]
print("chat, streamed:", "".join(pieces), "|", len(pieces), "pieces")

response = openai.responses.create(model="smollm2", input=question, max_output_tokens=40, temperature=0)
print("response:", response.output_text)
deltas = [
    event.delta
    for event in openai.responses.create(
        model="smollm2", input=question, max_output_tokens=40, temperature=0, stream=True
    )
    if event.type == "response.output_text.delta"
]
print("response, streamed:", "".join(deltas), "|", len(deltas), "pieces")

anthropic = Anthropic()
message = anthropic.messages.create(model="smollm2", max_tokens=40, messages=[{"role": "user", "content": question}])
print("message:", message.content[0].text, "|", message.usage.output_tokens, "tokens")
with anthropic.messages.stream(
    model="smollm2", max_tokens=40, messages=[{"role": "user", "content": question}]
) as stream:
    texts = list(stream.text_stream)
print("message, streamed:", "".join(texts), "|", len(texts), "pieces")
count = anthropic.messages.count_tokens(model="smollm2", messages=[{"role": "user", "content": question}])
print("tokens in the question:", count.input_tokens)
