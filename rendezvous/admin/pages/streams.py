"""Live figures for browsers: server-sent events (HTML standard, section 9.2)."""

import json
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from rendezvous.admin.pages.figures import Sampler

MOST_STREAMS = 20
"""Browsers, or windows of them, that are told at a time."""


class Streams:
    """The open streams, each of which gets what `sampler` sees."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler
        self._open: set[_Stream] = set()

    def open(self, request: Any, is_allowed: Callable[[], bool]) -> bool:
        """Answers `request` with events while `is_allowed`. False, and nothing, when there are too many."""
        if len(self._open) >= MOST_STREAMS:
            return False
        request.setHeader(b"Content-Type", b"text/event-stream")
        request.write(b"retry: 3000\n\n")
        stream = _Stream(request, is_allowed)
        self._open.add(stream)
        self._sampler.watchers.add(stream.tell)

        def over(_: object) -> None:
            self._open.discard(stream)
            self._sampler.watchers.discard(stream.tell)

        request.notifyFinish().addBoth(over)
        request.registerProducer(stream, True)
        return True

    def end(self) -> None:
        """Ends all of them."""
        for stream in tuple(self._open):
            stream.end()


@implementer(IPushProducer)
class _Stream:
    """One of them. A browser that takes nothing misses what is told meanwhile."""

    def __init__(self, request: Any, is_allowed: Callable[[], bool]) -> None:
        self._request = request
        self._is_allowed = is_allowed
        self._paused = False

    def tell(self, figures: dict[str, float]) -> None:
        """One event."""
        if not self._is_allowed():
            self.end()
        elif not self._paused:
            self._request.write(b"data: " + json.dumps(figures).encode() + b"\n\n")

    def end(self) -> None:
        """No more events."""
        self._request.unregisterProducer()
        self._request.finish()

    def pauseProducing(self) -> None:
        """See IPushProducer."""
        self._paused = True

    def resumeProducing(self) -> None:
        """See IPushProducer."""
        self._paused = False

    def stopProducing(self) -> None:
        """See IPushProducer; the request's end is told otherwise."""
