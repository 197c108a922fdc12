"""The resolver, relays and the API server fail: only what needs them does, and not for long."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import pytest

from tests.client.controlling import Controlling
from tests.client.threads import wait_until
from tests.evidence import Evidence
from tests.faults.conftest import NewLife, Serve
from tests.faults.others import listening
from tests.faults.shim import HOLD, Shim
from tests.integration.consoles import ask_console
from tests.integration.server import ServerProcess
from tests.integration.support import NewControlled, unique_source
from tests.integration.test_http_proxy import ask

CALLS = 40
GOES_ON = "While a resolver, a relay or the API server hangs, clients are served and healthy relays told"


def healthy(server: ServerProcess) -> list[str]:
    """The relays that clients are told of."""
    return ask_console(server.view().second, "relay-servers").split()


@pytest.mark.parametrize("fault", [1, HOLD], ids=["gone", "hanging"])
def test_no_names(serve: Serve, shim: Shim, new_life: NewLife, evidence: Evidence, fault: int) -> None:
    """A relay whose name has no answer leaves the list and hides no other that goes; both come back."""
    server = serve("--api-server=http://localhost:9", "--api-timeout=1", ready=False)
    own = f"127.0.0.1:{server.port + 1}"
    with shim.failing(resolve=fault):
        with listening() as relay:
            other, named = f"127.0.0.1:{relay}", f"localhost:{relay}"
            server.flags = [*server.flags, f"--relay-servers={own},{other},{named}"]
            view = server.start().view()
            life = new_life(view)
            assert ask(view, "GET", "/api/x").error
            assert other in healthy(server)
        begin = monotonic()
        server.wait_line(f"{other} does not answer", 20)
        noticed = monotonic() - begin
        server.wait_line(f"{named} does not answer", 20)
        life.goes_on()
        assert healthy(server) == [own]
    with listening(relay):
        wait_until(lambda: healthy(server) == [own, other, named], 20)
    evidence(GOES_ON, f"a dead relay noticed in {noticed:.0f} s")


def test_stopped_while_a_name_hangs(serve: Serve, shim: Shim, evidence: Evidence) -> None:
    """Nobody waits for the resolver."""
    with shim.failing(resolve=HOLD):
        server = serve("--relay-servers=a.example,b.example")
        begin = monotonic()
        server.stop()
        seconds = monotonic() - begin
    assert seconds < 5
    evidence("A resolver that hangs does not hold up the end of the server", f"{seconds:.1f} s")


def test_relays_gone(serve: Serve, new_controlled: NewControlled, evidence: Evidence) -> None:
    """When all relays are gone, clients still reach each other directly, and relays are told when they are back."""
    server = serve(ready=False)
    ports = (server.port + 4, server.port + 5)
    names = [f"127.0.0.1:{port}" for port in ports]
    server.flags = [*server.flags, f"--relay-servers={','.join(names)}"]
    view = server.start().view()
    for name in names:
        server.wait_line(f"{name} does not answer")
    target = new_controlled(view)
    with Controlling(view, source=unique_source()).connect(target.id) as session:
        assert session.way == "direct"
        assert session.round_trip(b"hello") == b"hello"
    with listening(ports[1]):
        wait_until(lambda: healthy(server) == [names[1]], 20)
    evidence(GOES_ON, relays=2)


def test_api_server_hangs(serve: Serve, new_life: NewLife, evidence: Evidence) -> None:
    """Calls end with an error in time; more than may wait at once; nobody else notices."""
    with listening() as port:
        limits = ("--api-timeout=3", "--max-api-calls=10")
        server = serve(f"--api-server=http://127.0.0.1:{port}", *limits)
        view = server.view()
        life = new_life(view)
        with ThreadPoolExecutor(CALLS) as pool:
            calls = [pool.submit(ask, view, "POST", "/api/x", b"x" * 100_000) for _ in range(CALLS)]
            life.goes_on()
            errors = [call.result(30).error for call in calls]
    assert errors.count("the API server can't be reached") >= 10
    assert errors.count("the API server is busy") > 0
    assert all(errors)
    assert len([line for line in server.lines if "asking the API server failed" in line]) <= 2
    evidence(GOES_ON, calls=CALLS)
