"""Pipes to splice through: few, since a user may have only so many pages, and lent while they hold bytes."""

import fcntl
import os

Pipe = tuple[int, int]
"""The ends to read from and to write to."""
PIPE = 1 << 20
"""Bytes that fit into one."""
_SMALLEST_PIPE = 64 * 1024
"""Smaller pipes, which the kernel gives to users with many, are slower than copying."""
_MOST_FREE = 16


class PipePool:
    """The pipes of a process that nobody uses at the moment: not more than sessions, and no more than 16."""

    def __init__(self) -> None:
        self._free: list[Pipe] = []
        self._sessions = 0

    def session_began(self) -> None:
        """One more session may take pipes."""
        self._sessions += 1

    def session_ended(self) -> None:
        """A session has returned its pipes for good."""
        self._sessions -= 1
        if len(self._free) > self._sessions:
            close_pipe(self._free.pop())

    def take(self) -> Pipe | None:
        """An empty pipe worth splicing through, or None when the system has none to give."""
        return self._free.pop() if self._free else _new_pipe()

    def give_back(self, pipe: Pipe) -> None:
        """An empty pipe, for others."""
        if len(self._free) < min(_MOST_FREE, self._sessions):
            self._free.append(pipe)
        else:
            close_pipe(pipe)


def close_pipe(pipe: Pipe) -> None:
    """Closes both ends, and loses what is in it."""
    for descriptor in pipe:
        os.close(descriptor)


def _new_pipe() -> Pipe | None:
    try:
        pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        size = fcntl.fcntl(pipe[1], fcntl.F_SETPIPE_SZ, PIPE)
    except OSError:
        size = fcntl.fcntl(pipe[1], fcntl.F_GETPIPE_SZ)
    if size < _SMALLEST_PIPE:
        close_pipe(pipe)
        return None
    return pipe
