"""How much of what was to be sent a client has not taken yet, by which one that reads slowly shows that it does."""

import fcntl
import struct
import termios
from typing import Any


def unsent_bytes(transport: Any) -> int:
    """Bytes in the buffers of a Twisted TCP transport, with TLS or not, and of the kernel where it tells."""
    waiting: int = len(transport.dataBuffer) - transport.offset + transport._tempDataLen
    try:
        (in_kernel,) = struct.unpack("i", fcntl.ioctl(transport.fileno(), termios.TIOCOUTQ, bytes(4)))
    except (OSError, ValueError):  # no socket of Linux, or one that is closed
        in_kernel = 0
    return waiting + int(in_kernel)
