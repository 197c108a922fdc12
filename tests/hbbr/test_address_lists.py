"""Blocked addresses are refused and cut; addresses have one spelling."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from rendezvous.address_lists import AddressList, ListFile, read_list
from rendezvous.config_values import ConfigError
from tests.hbbr.relay_fixture import PROPERTY, MemoryRelay, ask

ALL_KINDS = ["tt", "tw", "wt", "ww"]


@pytest.mark.parametrize("spelling", ["192.0.2.7", "::ffff:192.0.2.7", "::FFFF:c000:207"])
def test_a_blocked_address_is_refused(spelling: str) -> None:
    """A connection of a blocked address is closed at once, in any spelling, on both ports, and counted."""
    relay = MemoryRelay(blocklist=[spelling])
    for host in ("192.0.2.7", "::ffff:192.0.2.7"):
        assert relay.stream(host).closed
        assert relay.reactor.connect(relay.websocket, host, 1000).closed
    assert not relay.stream("192.0.2.8").closed
    assert sum(relay.dropped.values()) == 4


def test_a_blocked_ipv6_address_is_refused_in_any_spelling() -> None:
    """An IPv6 address is the same address written long or short."""
    relay = MemoryRelay(blocklist=["2001:0DB8:0:0::0001"])
    assert relay.stream("2001:db8::1").closed
    assert not relay.stream("2001:db8::2").closed


@pytest.mark.parametrize("kinds", ALL_KINDS)
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("spelling", ["192.0.2.{}", "::ffff:192.0.2.{}"])
def test_running_sessions_of_a_blocked_address_are_cut(kinds: str, which: int, spelling: str) -> None:
    """Blocking either side ends its sessions within a second, and no other one."""
    relay = MemoryRelay()
    pair = relay.joined(kinds, hosts=("192.0.2.31", "192.0.2.32"))
    others = relay.joined(kinds, uuid="u2")
    relay.type("Ba " + spelling.format(31 + which))
    relay.advance(1)
    relay.drain()
    assert all(client.closed for client in pair)
    assert not any(client.closed for client in others)
    assert len(relay.relay.sessions) == 1


@pytest.mark.parametrize("kind", ["t", "w"])
def test_a_waiting_side_that_is_blocked_is_not_joined(kind: str) -> None:
    """An address that is blocked while it waits gets no session any more."""
    relay = MemoryRelay()
    waiting = relay.stream("192.0.2.7") if kind == "t" else relay.messages("192.0.2.7")
    ask(waiting)
    relay.settle()
    relay.type("Ba 192.0.2.7")
    other = relay.stream("192.0.2.8")
    ask(other)
    relay.drain()
    assert relay.relay.sessions == set()


@pytest.mark.parametrize("comes_first", [True, False])
@pytest.mark.parametrize("kind", ["t", "w"])
def test_a_connection_that_was_open_before_its_block_is_not_joined(kind: str, comes_first: bool) -> None:
    """An address that is blocked before its connection asks for a session is closed and counted."""
    relay = MemoryRelay()
    late = relay.stream("192.0.2.7") if kind == "t" else relay.messages("192.0.2.7")
    relay.type("Ba 192.0.2.7")
    other = relay.stream("192.0.2.8")
    for client in (late, other) if comes_first else (other, late):
        ask(client)
        relay.settle()
    relay.drain()
    assert relay.relay.sessions == set()
    assert (late.closed, other.closed) == (True, False)
    assert relay.dropped == {"denied": 1}


@pytest.mark.parametrize("after", [0.01, 0.4, 0.99])
def test_a_session_is_cut_within_a_second_of_its_address_in_the_file(tmp_path: Path, after: float) -> None:
    """Whenever the file changes, the cut comes within half a second, which leaves room for a busy machine."""
    path, relay = tmp_path / "blocklist.txt", MemoryRelay()
    relay.relay.blocklist = (followed := ListFile(path, relay.reactor, relay.relay.cut_blocked)).entries
    followed.startService()
    relay.joined("tt", hosts=("192.0.2.7", "192.0.2.8"))
    relay.advance(after)
    path.write_text("192.0.2.7\n", "ascii")
    relay.advance(0.5)
    assert relay.relay.sessions == set()
    followed.stopService()


def test_an_unblocked_address_may_connect_again() -> None:
    """`Br` takes the block back."""
    relay = MemoryRelay(blocklist=["192.0.2.7"])
    relay.type("Br ::ffff:192.0.2.7")
    assert not relay.stream("192.0.2.7").closed


def test_the_first_word_of_each_line_counts(tmp_path: Path) -> None:
    """A list file has an address at the beginning of each line, whatever follows it."""
    path = tmp_path / "blocklist.txt"
    path.write_text("192.0.2.1\n\n  2001:DB8::1\tsince spring\r\n::ffff:192.0.2.3 # a comment\n# 192.0.2.4\n")
    listed = read_list(path)
    assert [listed.has(host) for host in ("192.0.2.1", "2001:db8::1", "192.0.2.3", "192.0.2.4")] == [
        True,
        True,
        True,
        False,
    ]
    assert len(listed) == 3


@pytest.mark.parametrize("ids", [True, False])
def test_a_byte_order_mark_is_no_part_of_the_first_word(tmp_path: Path, ids: bool) -> None:
    """A file as editors of Windows save it lists its first address, too."""
    path = tmp_path / "denylist.txt"
    path.write_bytes(b"\xef\xbb\xbf192.0.2.1\r\n192.0.2.2\r\n")
    assert list(read_list(path, ids=ids)) == ["192.0.2.1", "192.0.2.2"]


def test_a_missing_file_lists_nobody(tmp_path: Path) -> None:
    """Both files are optional."""
    assert len(read_list(tmp_path / "blacklist.txt")) == 0


@pytest.mark.parametrize("content", [b"192.0.2.1\nexample.org\n", b"192.0.2.300\n", b"\xff\xfe1\x00"])
def test_a_file_with_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    """A line that begins with no address is said to be wrong, with the file's name."""
    path = tmp_path / "blocklist.txt"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"^blocklist\.txt: "):
        read_list(path)


@PROPERTY
@given(st.ip_addresses(v=4))
def test_both_spellings_of_an_ipv4_address_are_one(address: object) -> None:
    """With or without ::ffff: an address is added, found and removed."""
    listed = AddressList([f"::ffff:{address}"])
    assert str(address) in listed
    assert listed.has(str(address))
    assert listed.has(f"::ffff:{address}")
    assert list(listed) == [str(address)]
    listed.remove(str(address))
    assert not listed.has(f"::ffff:{address}")


@PROPERTY
@given(st.ip_addresses(v=4), st.integers(0, 32))
def test_both_spellings_of_an_ipv4_network_are_one(address: object, prefix: int) -> None:
    """With or without ::ffff: a network holds its addresses, in either spelling."""
    listed = AddressList([f"::ffff:{address}/{96 + prefix}"])
    assert list(listed) == list(AddressList([f"{address}/{prefix}"]))
    assert str(address) in listed
    assert listed.has(f"::ffff:{address}")
    listed.remove(f"{address}/{prefix}")
    assert not listed.any


@PROPERTY
@given(st.text(max_size=20))
def test_text_that_is_no_address_is_refused(text: str) -> None:
    """Whatever is typed, the list takes it whole or says ValueError."""
    listed = AddressList()
    try:
        listed.add(text)
    except ValueError:
        assert len(listed) == 0
    else:
        assert listed.has(text)


def test_a_changed_list_that_can_not_be_read_is_read_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the disk fails the list stays as it was; then it is read, though the file has not changed again."""
    path, clock = tmp_path / "blocklist.txt", Clock()
    followed = ListFile(path, clock)
    followed.startService()
    path.write_text("192.0.2.7\n", "ascii")
    with monkeypatch.context() as failing:

        def fail(*arguments: object) -> str:
            raise OSError(5, "Input/output error")

        failing.setattr(Path, "read_text", fail)
        clock.pump([1, 1, 1])
        assert list(followed.entries) == []
    clock.advance(1)
    assert list(followed.entries) == ["192.0.2.7"]
    followed.stopService()
