"""The README in both languages: the same commands, ports, settings and documents."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ENGLISH, CHINESE = (ROOT.joinpath(name).read_text("utf-8") for name in ("README.md", "README.zh-CN.md"))


def commands(text: str) -> list[str]:
    """The lines of all code blocks, without what follows a #."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [line.partition("#")[0].rstrip() for block in blocks for line in block.splitlines()]


def in_code(text: str) -> set[str]:
    """What is set as code within the text."""
    return set(re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)))


def links(text: str) -> set[str]:
    """Where links lead."""
    return set(re.findall(r"\]\(([^)]+)\)", text))


def test_commands() -> None:
    """Both tell the same commands, in the same order."""
    assert commands(ENGLISH)
    assert commands(CHINESE) == commands(ENGLISH)


def test_words_of_the_code() -> None:
    """Both name the same settings, files and ports."""
    assert in_code(CHINESE) == in_code(ENGLISH)
    assert re.findall(r"\b\d{2,5}\b", CHINESE) == re.findall(r"\b\d{2,5}\b", ENGLISH)


def test_links() -> None:
    """Both lead to the same documents, and to each other."""
    assert links(CHINESE) - {"README.md"} == links(ENGLISH) - {"README.zh-CN.md"}
    assert "README.md" in links(CHINESE)
    assert "README.zh-CN.md" in links(ENGLISH)


@pytest.mark.parametrize("level", ["#", "##"])
def test_parts(level: str) -> None:
    """Both have as many parts."""
    parts = [len(re.findall(rf"^{level} ", text, re.MULTILINE)) for text in (ENGLISH, CHINESE)]
    assert parts[0] == parts[1] > 0
