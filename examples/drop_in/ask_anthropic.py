"""An ordinary program for Anthropic: a message, plain and streamed, and a token count. It knows nothing of a gateway;
the SDK takes ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY from the environment."""

from anthropic import Anthropic

client = Anthropic()
question = "Name three colours."

message = client.messages.create(
    model="claude-haiku-4-5", max_tokens=100, messages=[{"role": "user", "content": question}]
)
print("message:", message.content[0].text, "|", message.stop_reason, "|", message.usage.output_tokens)

with client.messages.stream(
    model="claude-haiku-4-5", max_tokens=100, messages=[{"role": "user", "content": question}]
) as stream:
    for text in stream.text_stream:
        print("piece:", text)
    print("usage:", stream.get_final_message().usage.output_tokens)

count = client.messages.count_tokens(model="claude-haiku-4-5", messages=[{"role": "user", "content": question}])
print("count:", count.input_tokens)
