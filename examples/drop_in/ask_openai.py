"""An ordinary program for OpenAI: chat, plain and streamed, a response, embeddings. It knows nothing of a gateway;
the SDK takes OPENAI_BASE_URL and OPENAI_API_KEY from the environment."""

from openai import OpenAI

client = OpenAI()
question = "Name three colours."

chat = client.chat.completions.create(model="gpt-5-mini", messages=[{"role": "user", "content": question}])
print("chat:", chat.choices[0].message.content, "|", chat.choices[0].finish_reason, "|", chat.usage)

stream = client.chat.completions.create(
    model="gpt-5-mini",
    messages=[{"role": "user", "content": question}],
    stream=True,
    stream_options={"include_usage": True},
)
for chunk in stream:
    if chunk.choices and chunk.choices[0].delta.content:
        print("piece:", chunk.choices[0].delta.content)
    if chunk.usage:
        print("usage:", chunk.usage.total_tokens)

response = client.responses.create(model="gpt-5-mini", input=question)
print("response:", response.output_text)

with client.responses.stream(model="gpt-5-mini", input=question) as events:
    for event in events:
        print("event:", event.type)

vectors = client.embeddings.create(model="text-embedding-3-small", input=[question, "Another text."])
print("embeddings:", [len(one.embedding) for one in vectors.data])
