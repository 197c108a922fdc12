"""Figures for Prometheus: they change as clients come and go, and are what the document says."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import pytest

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.controlled import Identity
from tests.client.controlling import Controlling, RefusedError
from tests.client.links import PlainLink, connected_socket
from tests.client.udp import UdpLink
from tests.integration.scraping import Scrape, get, scrape
from tests.integration.server import ROOT, ServerProcess, free_port
from tests.integration.support import NewControlled, StartServer, unique_source

DOCUMENT = (ROOT / "docs" / "metrics.md").read_text("utf-8")
DASHBOARD = ROOT / "docs" / "grafana-dashboard.json"
OURS = re.compile(r"\b(?:rendezvous|process)_[a-z_]+\b")


def metrics_port(server: ServerProcess) -> int:
    """Where it was told to answer Prometheus."""
    return server.port + 5


@pytest.fixture(scope="module")
def measured(start_module_server: StartServer) -> ServerProcess:
    """A server with figures, for all tests of the module."""
    port = free_port()
    relays = f"127.0.0.1:{port + 1},localhost:{port + 1}"
    return start_module_server("--metrics", str(port + 5), "--relay-servers", relays, port=port)


@pytest.fixture
def port(measured: ServerProcess) -> Iterator[int]:
    """The port of its figures; its log must have no exception afterwards."""
    yield metrics_port(measured)
    measured.check()


def register(server: ServerProcess, identity: Identity) -> None:
    """Registers once over UDP."""
    with UdpLink(server.view().main, (unique_source(), 0)) as udp:
        assert udp.ask(identity.register_pk()).register_pk_response.result == pb.RegisterPkResponse.OK


def test_registrations(measured: ServerProcess, port: int, new_controlled: NewControlled) -> None:
    """A client that registers is counted, where it is online and for as long, and so is what the database did."""
    before = scrape(port)
    identity = Identity.make()
    register(measured, identity)
    stranger = Identity(identity.id, b"another machine", identity.pk)
    with UdpLink(measured.view().main, (unique_source(), 0)) as udp:
        udp.ask(stranger.register_pk())
    client = new_controlled(measured.view(), "websocket")
    after = scrape(port)

    def grown(name: str, **labels: str) -> float:
        return after.value(name, **labels) - before.value(name, **labels)

    assert grown("rendezvous_registrations_total", transport="udp", result="ok") == 1
    assert grown("rendezvous_registrations_total", transport="udp", result="uuid_mismatch") == 1
    assert grown("rendezvous_drops_total", place="registration", reason="uuid_mismatch") == 1
    assert grown("rendezvous_registrations_total", transport="websocket", result="ok") == 1
    assert grown("rendezvous_peers") == grown("rendezvous_peers_in_memory") == 2
    assert grown("rendezvous_datagrams_received_total") == 2
    assert grown("rendezvous_store_commit_rows_sum") == 2
    assert grown("rendezvous_store_commit_seconds_count") == 2
    assert grown("rendezvous_store_commit_seconds_sum") > 0
    assert after.value("rendezvous_peers_online", transport="websocket") == 1
    assert grown("rendezvous_connections_opened_total", port="websocket") == 1
    assert after.value("rendezvous_connections", server="hbbs") >= 1
    client.stop()
    assert Controlling(measured.view()).online([client.id]) == [False]
    assert scrape(port).value("rendezvous_peers_online", transport="websocket") == 0


def test_punches(measured: ServerProcess, port: int, new_controlled: NewControlled) -> None:
    """Each punch request is counted once, by how it ended; those that were answered by the time it took."""
    before = scrape(port)
    client = new_controlled(measured.view())
    asker = Controlling(measured.view(), source=unique_source())
    with asker.connect(client.id) as session:
        assert session.way == "direct"
    with pytest.raises(RefusedError):
        asker.punch("nobody-has-this")
    after = scrape(port)

    def grown(outcome: str) -> float:
        return Scrape.value(after, "rendezvous_punches_total", outcome=outcome) - before.value(
            "rendezvous_punches_total", outcome=outcome
        )

    assert (grown("punched"), grown("unknown"), grown("timed_out")) == (1, 1, 0)
    name = "rendezvous_punch_answer_seconds"
    assert after.value(f"{name}_count") == before.value(f"{name}_count") + 1
    assert 0 < after.value(f"{name}_sum") - before.value(f"{name}_sum") < 10
    with asker.dial() as link:
        link.send(asker.punch_request(client.id))
        client.wait_push("punch_hole")
    assert scrape(port).value("rendezvous_pending_exchanges") == 0


def test_relay(measured: ServerProcess, port: int, new_controlled: NewControlled) -> None:
    """A session runs, carries bytes that are counted while it runs, and has ended."""
    before = scrape(port)
    client = new_controlled(measured.view())
    asker = Controlling(measured.view(), source=unique_source())
    with asker.connect_by_relay(client.id) as session:
        assert session.round_trip(b"x" * 1000) == b"x" * 1000
        during = scrape(port)
        assert during.value("rendezvous_relay_sessions") == 1
        assert during.value("rendezvous_relay_waiting") == 0
        sent = during.value("rendezvous_relay_bytes_total", transport="tcp")
        assert sent - before.value("rendezvous_relay_bytes_total") >= 2000
    measured.wait_line(" relayed ")
    after = scrape(port)
    assert after.value("rendezvous_relay_sessions") == 0
    ended = after.value("rendezvous_relay_sessions_ended_total")
    assert ended == before.value("rendezvous_relay_sessions_ended_total") + 1
    assert after.value("rendezvous_relay_bytes_total", transport="tcp") >= sent
    name = "rendezvous_relay_requests_total"
    assert after.value(name, outcome="relayed") == before.value(name, outcome="relayed") + 1


def test_a_side_that_waits(measured: ServerProcess, port: int) -> None:
    """A side alone is seen waiting."""
    view = measured.view()
    with PlainLink(connected_socket(view.relay, (unique_source(), 0))) as link:
        link.send(pb.RendezvousMessage(request_relay=pb.RequestRelay(uuid="alone", licence_key=view.key)))
        with PlainLink(connected_socket(view.relay, (unique_source(), 0))) as other:
            other.send(pb.RendezvousMessage(request_relay=pb.RequestRelay(uuid="", licence_key=view.key)))
            other.wait_closed()  # by now the first one has been read too
        assert scrape(port).value("rendezvous_relay_waiting") == 1


# The document ------------------------------------------------------------------------------------


def documented() -> dict[str, tuple[str, set[str]]]:
    """Name -> type and labels, as the tables of the document tell."""
    rows = re.findall(r"^\| `([a-z_]+)` \| (\w+) \| ([^|]*)\| ", DOCUMENT, re.MULTILINE)
    assert len(rows) == len({name for name, _, _ in rows})
    return {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


def test_document(measured: ServerProcess, port: int) -> None:
    """The document has each figure that there is, with its type and labels, and no other."""
    register(measured, Identity.make())
    view = measured.view()
    with PlainLink(connected_socket(view.main, (unique_source(), 0))) as link:
        link.send_payload(b"\xff\xff\xff")
        link.wait_closed()
    found = {}
    for family in scrape(port).families.values():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        found[name] = (family.type, labels)
        assert family.documentation.endswith(".")
    tables = documented()
    assert set(tables) == set(found)
    seldom = {"rendezvous_relay_sessions_ended_total"}
    assert {name: tables[name] for name in found if found[name][1] or name not in seldom} == {
        name: of for name, of in found.items() if of[1] or name not in seldom
    }


def test_words_of_the_document(port: int) -> None:
    """Each outcome, transport, port and operation that there is from the start is explained."""
    for family in scrape(port).families.values():
        for sample in family.samples:
            for label, word in sample.labels.items():
                if label in ("outcome", "transport", "port", "operation", "server", "result"):
                    assert f"`{word}`" in DOCUMENT, (sample.name, word)


def names_in(text: str) -> set[str]:
    """The figures that a text names; those of a histogram by the histogram's name."""
    tables = documented()
    names = set()
    for name in OURS.findall(text):
        histogram = re.sub(r"_(bucket|sum|count)$", "", name)
        names.add(histogram if tables.get(histogram, ("",))[0] == "histogram" else name)
    return names


def test_alerts() -> None:
    """The alerts of the document ask for figures that there are."""
    [alerts] = [text for text in re.findall(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL) if "alert:" in text]
    expressions = re.sub(r"alert: \w+", "", alerts)
    assert len(names_in(expressions)) > 8
    assert names_in(expressions) <= set(documented())


def test_dashboard() -> None:
    """The dashboard asks for figures that there are, for nearly all of them, and is whole."""
    dashboard = json.loads(DASHBOARD.read_text("utf-8"))
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    expressions = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    variables = dashboard["templating"]["list"]
    asked = names_in(" ".join(expressions))
    assert asked <= set(documented())
    assert set(documented()) - asked <= {
        "process_virtual_memory_bytes",
        "rendezvous_peers_in_memory",
        "rendezvous_peers_limit",
        "rendezvous_relay_request_answer_seconds",
    }
    assert {variable["name"] for variable in variables} == {"datasource", "instance"}
    for text in (*expressions, json.dumps(panels)):
        assert set(re.findall(r"\$\{?(\w+)", text)) <= {"datasource", "instance", "__rate_interval"}
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24


# The port ----------------------------------------------------------------------------------------


def test_nothing_else_is_served(port: int) -> None:
    """Every other path is not found."""
    for path in ("/", "/metrics/", "/api/x", "/metrics2"):
        with pytest.raises(urllib.error.HTTPError) as raised:
            get(port, path)
        assert raised.value.code == 404
        raised.value.close()


def test_loopback_only(port: int) -> None:
    """Without an address only 127.0.0.1 answers."""
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.2", port), 5)


def test_an_address(start_server: StartServer) -> None:
    """With an address that one answers; a relay alone has the relay's figures."""
    port = free_port()
    server = start_server("--metrics", f"127.0.0.2:{port + 5}", part="hbbr", port=port)
    server.wait_line(f"Metrics on http://127.0.0.2:{port + 5}/metrics")
    text = get(port + 5, host="127.0.0.2")
    assert "rendezvous_relay_sessions 0" in text
    assert "rendezvous_peers" not in text
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port + 5), 5)


def test_not_loaded_unless_asked_for(tmp_path: Path) -> None:
    """Without the setting nothing of it is in memory."""
    code = (
        "import sys\n"
        "from rendezvous import tap\n"
        "assert not [name for name in sys.modules if 'prometheus' in name or 'exposition' in name]\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=30)
