"""The figures that the overview's script asks for: as they are from now on, and as they were."""

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.web.http import SERVICE_UNAVAILABLE

from rendezvous.admin.pages.figures import Sampler
from rendezvous.admin.pages.streams import Streams
from rendezvous.admin.pages.visitors import Refused, Visitors


class LiveFigures:
    """What `sampler` sees and has seen."""

    def __init__(self, sampler: Sampler, streams: Streams, visitors: Visitors) -> None:
        self._sampler = sampler
        self._streams = streams
        self._visitors = visitors

    def events(self, request: Any) -> "Deferred[bytes]":
        """The figures as they are, while the browser listens and may. Raises Refused."""
        if not self._streams.open(request, lambda: self._visitors.may(request)):
            raise Refused(SERVICE_UNAVAILABLE, "Too many pages are open.")
        return Deferred()  # which the stream ends

    def history(self, request: Any) -> bytes:
        """The points of the charts."""
        request.setHeader(b"Content-Type", b"application/json")
        return json.dumps(self._sampler.history.told(self._sampler.now())).encode()
