"""Logins of the status page: how many tries, how many logins, and for how long."""

from __future__ import annotations

from typing import Any

import pytest
from argon2 import PasswordHasher
from twisted.internet.defer import Deferred, ensureDeferred

from rendezvous.admin.pages import logins as module
from rendezvous.admin.pages.logins import (
    IDLE_LOGIN,
    LONGEST_LOGIN,
    MOST_LOGINS,
    MOST_WAITING,
    TRIES,
    TRIES_WINDOW,
    Logins,
    TooOften,
)
from tests.admin.threads import Threads

HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("open sesame")


@pytest.fixture
def clock() -> Threads:
    """Time, and threads."""
    clock = Threads()
    clock.advance(1000)
    return clock


@pytest.fixture
def logins(clock: Threads) -> Logins:
    """Those of a server with a password."""
    return Logins(HASH, clock)


def tried(logins: Logins, password: bytes, host: str = "192.0.2.1") -> bytes | None:
    """The cookie that a try brings, if any. Raises TooOften."""
    results: list[Any] = []
    Deferred.addBoth(ensureDeferred(logins.log_in(password, host)), results.append)
    (result,) = results
    if not isinstance(result, bytes | None):
        result.raiseException()
    return result  # type: ignore[no-any-return]


def new(logins: Logins, host: str = "192.0.2.1") -> bytes:
    """The cookie of a new login."""
    cookie = tried(logins, b"open sesame", host)
    assert cookie
    return cookie


def test_login(logins: Logins) -> None:
    """The right password brings a cookie that may, until it logs out; nothing else does."""
    assert logins.needed
    assert tried(logins, b"open") is None
    cookie = new(logins)
    assert logins.may(cookie)
    assert not logins.may(b"")
    assert not logins.may(cookie[:-1])
    logins.log_out(cookie)
    assert not logins.may(cookie)


def test_no_password(clock: Threads) -> None:
    """Without one everybody may."""
    logins = Logins("", clock)
    assert not logins.needed
    assert logins.may(b"")


def test_tries(logins: Logins, clock: Threads) -> None:
    """After 5 wrong ones even the right one is not compared, until 5 minutes after the first; others may."""
    for _ in range(TRIES):
        assert tried(logins, b"wrong") is None
    with pytest.raises(TooOften):
        tried(logins, b"open sesame")
    new(logins, "192.0.2.2")
    clock.advance(TRIES_WINDOW)
    new(logins)


def test_tries_of_a_network(logins: Logins) -> None:
    """The addresses of an IPv6 /64 count together."""
    for number in range(TRIES):
        assert tried(logins, b"wrong", f"2001:db8::{number:x}") is None
    with pytest.raises(TooOften):
        tried(logins, b"wrong", "2001:db8::ffff")
    assert tried(logins, b"wrong", "2001:db8:0:1::1") is None


def test_right_ones_do_not_count(logins: Logins) -> None:
    """Whoever knows the password may log in as often as he likes."""
    for _ in range(2 * TRIES):
        new(logins)


def test_many_at_once(logins: Logins, clock: Threads) -> None:
    """Tries count before they are compared, one is compared at a time, and few wait."""
    clock.held = []
    results: list[Any] = []
    for number in range(MOST_WAITING + 2):
        Deferred.addBoth(ensureDeferred(logins.log_in(b"wrong", f"192.0.2.{number}")), results.append)
    assert len(clock.held) == 1
    assert [result.type for result in results] == [TooOften, TooOften]
    while clock.held:
        clock.held.pop()()
    assert results[2:] == [None] * MOST_WAITING


def test_end_of_a_login(logins: Logins, clock: Threads) -> None:
    """It ends after an hour without a request, and after 12 hours in any case."""
    idle = new(logins)
    clock.advance(IDLE_LOGIN + 1)
    assert not logins.may(idle)
    busy = new(logins)
    for _ in range(int(LONGEST_LOGIN / IDLE_LOGIN)):
        clock.advance(IDLE_LOGIN)
        assert logins.may(busy)
        logins.used(busy)
    clock.advance(1)
    assert not logins.may(busy)


def test_most_logins(logins: Logins) -> None:
    """One more ends the oldest."""
    cookies = [new(logins) for _ in range(MOST_LOGINS + 1)]
    assert [logins.may(cookie) for cookie in cookies] == [False, *[True] * MOST_LOGINS]


def test_tokens(logins: Logins, clock: Threads) -> None:
    """A token is for one cookie of one process."""
    token = logins.token(b"cookie").encode()
    assert logins.is_token(token, b"cookie")
    assert not logins.is_token(token, b"other")
    assert not logins.is_token(b"", b"cookie")
    assert not Logins(HASH, clock).is_token(token, b"cookie")


def test_hash_that_is_malformed(clock: Threads) -> None:
    """Nothing is its password."""
    assert tried(Logins("$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAA$A", clock), b"open sesame") is None


def test_networks_are_bounded(logins: Logins, monkeypatch: pytest.MonkeyPatch, clock: Threads) -> None:
    """A flood of addresses is not remembered without end."""
    monkeypatch.setattr(module, "_NETWORKS", 3)
    logins = Logins(HASH, clock)
    for number in range(9):
        tried(logins, b"wrong", f"192.0.2.{number}")
    assert len(logins._tries) == 3
