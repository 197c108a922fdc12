"""The `websockets` library's server side, held to RFC 6455 where it is lenient, and to binary messages.

This overrides `recv_frame`, which the library does not document: tests/websocket fails when that changes.
"""

import logging
from collections.abc import Callable, Sequence

from websockets.exceptions import PayloadTooBig, ProtocolError
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Origin

_SILENT = logging.getLogger("rendezvous.websocket")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False
_SILENT.setLevel(logging.CRITICAL)


CONT, TEXT, BINARY = Opcode.CONT, Opcode.TEXT, Opcode.BINARY
CLOSE, PING, PONG = Opcode.CLOSE, Opcode.PING, Opcode.PONG
"""Looking up a member of an enumeration takes longer than anything else that is done with it."""
_LONGEST_CONTROL = 125


def _nobody(frame: Frame) -> None:
    """Is told of no frame."""


class BinaryServerProtocol(ServerProtocol):
    """Hands each frame to `received` before it looks at the next one, so that it does not matter what came at once.

    After the handshake, which must be fed by itself, there are no events. What `received` raises is in `failure`.
    """

    def __init__(
        self, received: Callable[[Frame], None], max_size: int, origins: Sequence[Origin | None] | None
    ) -> None:
        super().__init__(max_size=max_size, origins=origins, logger=_SILENT)
        self._received: Callable[[Frame], None] = received
        self._max_size = max_size
        self._fed = 0
        self.failure: Exception | None = None

    def set_max_size(self, max_size: int) -> None:
        """Allows messages of up to `max_size` bytes; control frames between fragments do not count."""
        self._max_size = max_size
        self.max_message_size = max_size if self.current_size is None else max_size + _LONGEST_CONTROL

    @property
    def unfinished(self) -> int:
        """Bytes of a frame that has begun and is not whole yet."""
        return len(self.reader.buffer)

    def forget(self) -> None:
        """Lets go of what has come of a frame; nothing is fed any more."""
        self.reader.discard()

    def ended(self) -> None:
        """The connection is gone: lets go of who was told, and of what had come of a frame."""
        self._received = _nobody
        self.parser.close()

    def receive_data(self, data: bytes | bytearray) -> None:
        """See Protocol."""
        if self.state is not State.CONNECTING:
            self._fed += len(data)
        super().receive_data(data)

    def recv_frame(self, frame: Frame) -> None:
        """See Protocol. Lengths must be in their shortest form (section 5.2), which the library does not see to."""
        left, size = len(self.reader.buffer), len(frame.data)
        header = self._fed - left - size
        self._fed = left
        if header != (6 if size < 126 else 8 if size < 65536 else 14):
            raise ProtocolError("length not in its shortest form")
        if not (frame.fin and frame.opcode is BINARY and self.current_size is None):
            self._recv_other_frame(frame, size)
            if self.parser_exc is not None:
                return
        try:
            self._received(frame)
        except Exception as failure:
            self.failure = failure
            self.fail(CloseCode.INTERNAL_ERROR)

    def _recv_other_frame(self, frame: Frame, size: int) -> None:
        """Anything but a message in one frame, with which the library has nothing to do."""
        before = self.current_size
        if frame.opcode is TEXT and before is None:
            self.fail(CloseCode.UNSUPPORTED_DATA, "only binary messages are understood")
            self.parser_exc = ProtocolError("text message")
            return
        if frame.opcode is CLOSE:
            self.current_size = None  # it may come between fragments (section 5.4), which the library refuses
        elif frame.opcode is CONT and before is not None and before + size > self._max_size:
            raise PayloadTooBig(size, self._max_size - before)
        super().recv_frame(frame)
        self.events.clear()
        if self.current_size is not before:
            self.set_max_size(self._max_size)
