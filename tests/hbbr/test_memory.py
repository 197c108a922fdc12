"""What a session held is free as soon as it is over: nothing waits for Python's search for cycles."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from tests.hbbr.driven import DrivenRelay

BLOCK = bytes(1 << 20)


@pytest.fixture
def without_collector() -> Iterator[None]:
    """References alone free memory."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("kinds", ["tt", "tw", "wt", "ww"])
@pytest.mark.usefixtures("without_collector")
def test_a_stalled_session_that_is_cut(kinds: str) -> None:
    """The transports are gone, with what they had to send, and so is what had come of a message."""
    with DrivenRelay(spliced=False) as relay:
        first, second = relay.joined(kinds)
        for client in (first, second):
            client.stalled = True
            client.say(BLOCK)
        relay.settle()
        assert len(relay.reactor.adopted) == 2
        relay.forget(first, second)
        relay.check_nothing_left()
        assert len(relay.reactor.adopted) == 0
