"""Work that would hold up the reactor, done elsewhere."""

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

T = TypeVar("T")


def in_thread(reactor: Any, work: Callable[..., T], *arguments: Any) -> "Deferred[T]":
    """What `work` returns, done in a thread of the reactor's pool."""
    done: Deferred[T] = deferToThreadPool(reactor, reactor.getThreadPool(), work, *arguments)
    return done
