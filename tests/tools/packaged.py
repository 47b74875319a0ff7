"""A function as an installed package may have one."""


def title(text: str) -> str:
    return text.title()
