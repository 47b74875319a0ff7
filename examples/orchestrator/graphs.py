"""A LangGraph graph, served as a model: answer, doubt the answer, and answer again."""

from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, MessagesState, StateGraph


async def answer(state: MessagesState, config: RunnableConfig):
    """Ask without telling the client."""
    ask = config["configurable"]["ask"]
    words = await ask("smart", state["messages"], step="answer", max_tokens=500)
    return {"messages": [{"role": "assistant", "content": words}]}


async def think_again(state: MessagesState, config: RunnableConfig):
    """Stream what the client gets."""
    stream = config["configurable"]["stream"]
    doubt = {"role": "user", "content": "What is wrong or missing in that? Answer again, better."}
    words = await stream("smart", [*state["messages"], doubt], step="think_again")
    return {"messages": [{"role": "assistant", "content": words}]}


graph = StateGraph(MessagesState)
graph.add_node("answer", answer)
graph.add_node("think_again", think_again)
graph.add_edge(START, "answer")
graph.add_edge("answer", "think_again")
graph.add_edge("think_again", END)
