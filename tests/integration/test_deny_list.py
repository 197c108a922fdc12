"""The list of addresses that the ID server denies, read at start and when it changes; and wrong lists at start."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.client.controlled import Registration
from tests.client.controlling import Controlling, RefusedError
from tests.client.threads import wait_until
from tests.integration.list_files import (
    READ_WITHIN,
    may_register,
    new_network,
    rewrite,
    served,
    start_with,
)
from tests.integration.server import free_port, run_to_end, twistd
from tests.integration.support import NewControlled, StartServer, unique_source


class TestDenyList:
    """`denylist.txt` of the ID server."""

    def test_at_start(self, start_server: StartServer) -> None:
        """Addresses in any spelling and networks, each the first word of its line; comments are none."""
        one, other, allowed, commented = (unique_source() for _ in range(4))
        network, inside = new_network()
        lines = [
            "# who is not wanted",
            "",
            f"{one} since {allowed} complained",
            f"   ::ffff:{other}\t# the same address in another spelling",
            f"{network}#a whole network",
            f"# {commented}",
            "2001:db8::/32",
        ]
        view = start_with(start_server, {"denylist.txt": "\n".join(lines)}, part="hbbs").view()
        for source in (one, other, inside):
            assert served(view, source) == {False}, source
        for source in (allowed, commented):
            assert served(view, source) == {True}, source

    def test_changes_without_a_restart(self, start_server: StartServer) -> None:
        """A new file and its removal count within seconds; the process goes on."""
        server = start_server(part="hbbs")
        view, source, other = server.view(), unique_source(), unique_source()
        assert served(view, source) == {True}
        rewrite(server, "denylist.txt", f"{source}\n")
        assert served(view, source) == {False}
        assert may_register(view, other)
        (server.data / "denylist.txt").unlink()
        wait_until(lambda: may_register(view, source), READ_WITHIN, "the end of the list")
        assert served(view, source) == {True}

    def test_registered_peers_are_denied(self, start_server: StartServer, new_controlled: NewControlled) -> None:
        """Ids that are listed at run time can be reached no more, however they are registered, until they may."""
        server = start_server()
        view = server.view()
        ways: list[Registration] = ["udp", "secured", "websocket"]
        peers = [new_controlled(view, way, interval=0.2) for way in ways]
        other, asker = new_controlled(view), Controlling(view, source=unique_source())
        for peer in (*peers, other):
            assert asker.punch(peer.id).pk == peer.identity.pk
        rewrite(server, "denylist.txt", "".join(f"{peer.id} # stolen\n" for peer in peers))
        for peer in peers:
            with pytest.raises(RefusedError):
                asker.punch(peer.id)
            with pytest.raises(RefusedError):
                asker.request_relay(peer.id)
        assert asker.punch(other.id).pk == other.identity.pk
        rewrite(server, "denylist.txt", "# nobody\n")
        found = peers[0]
        wait_until(lambda: asker.online([found.id]) == [True], READ_WITHIN, "the presence of the peer on UDP")
        assert asker.punch(found.id).pk == found.identity.pk

    def test_broken_at_run_time(self, start_server: StartServer) -> None:
        """A file with a wrong line, or that is no text, is told in the log and the old list stays."""
        source, other = unique_source(), unique_source()
        server = start_with(start_server, {"denylist.txt": source}, part="hbbs")
        view = server.view()
        for broken in (b"10.0.0.0/99\n", b"\xff\xfe\n"):
            rewrite(server, "denylist.txt", f"{other}\n".encode() + broken, good=False)
            assert "denylist.txt" in server.wait_line("the list stays as it was")
            assert not may_register(view, source)
            assert may_register(view, other)
        rewrite(server, "denylist.txt", other)
        assert may_register(view, source)
        assert not may_register(view, other)


@pytest.mark.parametrize(
    ("name", "part", "content", "named"),
    [
        ("denylist.txt", "hbbs", "127.0.0.1\n10.0.0.0/99\n", "10.0.0.0/99"),
        ("blocklist.txt", "hbbr", "127.0.0.1\nnonsense\n", "nonsense"),
        ("blacklist.txt", "hbbr", "# fine\n127.0.0.1/8/8\n", "127.0.0.1/8/8"),
    ],
)
def test_broken_at_start(tmp_path: Path, name: str, part: str, content: str, named: str) -> None:
    """A wrong line ends the start with 1 and one sentence that names file, line and word."""
    (tmp_path / name).write_text(content, encoding="ascii")
    flags = ["-p", str(free_port()), "--data", str(tmp_path)]
    ended = run_to_end([*twistd(), "-n", "--pidfile=", "rendezvous", part, *flags], tmp_path)
    assert ended.code == 1, ended.output
    assert len(ended.statements) == 1, ended.output
    for text in (name, "line 2", named):
        assert text in ended.statements[0]
    assert "Traceback" not in ended.output
