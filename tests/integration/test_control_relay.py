"""`rendezvous relay` and `lists` with a real server."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.client.controlling import Controlling
from tests.client.links import LinkClosedError
from tests.client.threads import wait_until
from tests.integration.command import asked, refused, told
from tests.integration.consoles import ask_console
from tests.integration.list_files import may_register
from tests.integration.server import ServerProcess
from tests.integration.support import NewControlled, StartServer, unique_source


@pytest.fixture(scope="module")
def served(start_module_server: StartServer) -> ServerProcess:
    """One server for all tests."""
    return start_module_server()


def test_sessions_and_cut(served: ServerProcess, new_controlled: NewControlled) -> None:
    """Sessions are listed with their sides and bytes, and end when they are cut; the others go on."""
    view = served.view()
    sources = [unique_source(), unique_source()]
    peers = [new_controlled(view, source=source) for source in sources]
    assert asked(served, "relay", "sessions") == {"total": 0, "sessions": []}
    sessions = [Controlling(view).connect_by_relay(peer.identity.id, pk=peer.identity.pk) for peer in peers]
    with sessions[0] as cut, sessions[1] as kept:
        for session, length in ((cut, 50_000), (kept, 10)):
            payload = bytes(length)
            assert session.round_trip(payload) == payload
        found = asked(served, "relay", "sessions")
        assert found["total"] == 2
        first, second = found["sessions"]
        assert min(first["sent"]) > 50_000 > max(second["sent"])
        for row, source in zip((first, second), sources, strict=True):
            assert any(side.startswith(f"{source}:") for side in (row["first"], row["second"]))
            assert {row["first_transport"], row["second_transport"]} == {"tcp"}
            assert 0 <= row["age"] < 60
        assert asked(served, "relay", "sessions", "--limit", "1")["sessions"][0]["number"] == first["number"]
        assert str(first["number"]) in told(served, "relay", "sessions").splitlines()[1]
        state = asked(served, "status")[0]["relay"]
        assert state["sessions"] == 2
        assert state["bytes"] >= sum(first["sent"]) + sum(second["sent"])
        assert asked(served, "relay", "cut", str(first["number"]))["number"] == first["number"]
        with pytest.raises((LinkClosedError, ConnectionError)):
            cut.round_trip(b"more")
        assert kept.round_trip(b"more") == b"more"
        assert "no session" in refused(served, "relay", "cut", str(first["number"]))
        assert asked(served, "relay", "sessions")["total"] == 1
        assert "relayed" in served.wait_line('"reason": "cut"')
    wait_until(lambda: asked(served, "relay", "sessions")["total"] == 0, 20, "the end of the other session")
    assert asked(served, "status")[0]["relay"]["bytes"] >= state["bytes"]


def test_lists(served: ServerProcess) -> None:
    """An entry is in force at once, and in the file, beside what is there; removing it takes both back."""
    view, source = served.view(), unique_source()
    file = served.data / "denylist.txt"
    file.write_text("# not wanted\n192.0.2.1 since May\n")
    assert may_register(view, source)
    entries = asked(served, "lists", "add", "denylist", f"::ffff:{source}")["entries"]
    assert source in entries
    assert not may_register(view, source)
    assert file.read_text() == f"# not wanted\n192.0.2.1 since May\n{source}\n"
    assert told(served, "relay", "lists", "show") == told(served, "lists", "show")
    (denylist,) = [listed for listed in asked(served, "lists", "show") if listed["name"] == "denylist"]
    assert denylist["entries"] == entries
    asked(served, "lists", "add", "denylist", source)
    assert file.read_text().count(source) == 1
    asked(served, "relay", "lists", "remove", "denylist", source)
    assert may_register(view, source)
    asked(served, "lists", "remove", "denylist", "192.0.2.1")
    assert file.read_text() == "# not wanted\n"


def test_entries_that_are_not_listed(served: ServerProcess) -> None:
    """What is not listed can't be removed; a listed network that covers it is named, the smallest one."""
    for entry in ("10.0.0.0/8", "10.1.0.0/16"):
        asked(served, "lists", "add", "denylist", entry)
    assert told(served, "lists", "add", "denylist", "an-id").endswith(": 3 entries\n")
    for entry in ("10.1.2.3", "10.1.2.0/24"):
        assert "10.1.0.0/16" in refused(served, "lists", "remove", "denylist", entry)
    assert "10.0.0.0/8" in refused(served, "lists", "remove", "denylist", "10.2.0.1")
    for entry in ("another-id", "192.0.2.1", "2001:db8::/32"):
        assert f"{entry} is not in denylist" in refused(served, "lists", "remove", "denylist", entry)
    for entry in ("10.0.0.0/8", "10.1.0.0/16"):
        left = told(served, "lists", "remove", "denylist", entry)
    assert left.endswith(": 1 entry\n")
    asked(served, "lists", "remove", "denylist", "an-id")


def test_entries_of_the_console(served: ServerProcess) -> None:
    """What the text console has added, which is in no file, can be removed."""
    assert ask_console(("127.0.0.1", served.port + 1), "Ba 192.0.2.77") == ""
    assert asked(served, "lists", "remove", "blocklist", "192.0.2.77")["entries"] == []


def test_entries_that_are_not_allowed(served: ServerProcess) -> None:
    """What a list can't have is refused, and the file stays as it is."""
    for name, entry in [
        ("blocklist", "an-id"),
        ("blocklist", "10.0.0.0/99"),
        ("denylist", "two words"),
        ("denylist", "#comment"),
        ("denylist", ""),
        ("blacklist", "192.0.2.1\n192.0.2.2"),
    ]:
        assert repr(entry) in refused(served, "lists", "add", name, entry)
    assert not (served.data / "blocklist.txt").exists()
    assert asked(served, "lists", "add", "denylist", "an-id")["entries"] == ["an-id"]
    asked(served, "lists", "remove", "denylist", "an-id")


def test_broken_file(served: ServerProcess) -> None:
    """An entry in a file that has a wrong line is not said to be in force."""
    file = served.data / "blacklist.txt"
    file.write_text("nonsense\n")
    assert "nonsense" in refused(served, "lists", "add", "blacklist", "192.0.2.1")
    file.write_bytes(b"\xff\n")
    assert "UTF-8" in refused(served, "lists", "add", "blacklist", "192.0.2.1")
    file.unlink()


def test_changes_are_audited(served: ServerProcess) -> None:
    """Each is a line of audit.log with the user who asked; so is an edit of a file that is broken otherwise."""
    path, file = served.data / "audit.log", served.data / "blacklist.txt"

    def audited() -> list[dict[str, str]]:
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []

    before = len(audited())
    asked(served, "lists", "add", "blacklist", "192.0.2.8")
    file.write_text("192.0.2.8\nnonsense\n")
    assert "nonsense" in refused(served, "lists", "remove", "blacklist", "192.0.2.8")
    wait_until(lambda: len(audited()) == before + 2, 20, "the lines of the audit")
    assert [line["what"] for line in audited()[before:]] == [
        "added 192.0.2.8 to blacklist",
        "removed 192.0.2.8 from blacklist",
    ]
    user = "root" if os.geteuid() == 0 else f"user {os.geteuid()}"
    assert {(line["who"], line["address"]) for line in audited()[before:]} == {(user, "the control socket")}
    file.unlink()


def test_two_processes(start_server: StartServer) -> None:
    """Each list belongs to one of the servers, which may be processes of their own."""
    hbbs = start_server("-k", "-", part="hbbs")
    start_server("-k", "-", part="hbbr", folder=hbbs.folder, port=hbbs.port)
    asked(hbbs, "lists", "add", "denylist", "an-id")
    asked(hbbs, "lists", "add", "blocklist", "192.0.2.0/24")
    listed = {found["name"]: found["entries"] for found in asked(hbbs, "lists", "show")}
    assert listed == {"denylist": ["an-id"], "blocklist": ["192.0.2.0/24"], "blacklist": []}
    assert asked(hbbs, "relay", "sessions")["total"] == 0
    assert (hbbs.data / "blocklist.txt").read_text() == "192.0.2.0/24\n"


def test_without_a_server(tmp_path: Path) -> None:
    """Without a server that is said."""
    for line in ("relay sessions", "relay cut 1", "lists show", "lists add denylist x"):
        assert str(tmp_path) in refused(tmp_path, *line.split())
