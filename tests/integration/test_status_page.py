"""The status page of a real server in a real browser."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterator
from contextlib import closing

import pytest
import zxingcpp
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.controlling import Controlling, RefusedError
from tests.client.links import LinkClosedError, Server, dial_relay
from tests.client.threads import wait_until
from tests.integration.browsing import Page
from tests.integration.chromium import TIMEOUT, desktop, needs_chromium
from tests.integration.pages import PASSWORD, PASSWORD_HASH, serve_page
from tests.integration.server import ServerProcess
from tests.integration.support import NewControlled, StartServer, unique_source

pytestmark = needs_chromium
GRAY = """
    const done = arguments[arguments.length - 1], image = new Image();
    image.onload = () => {
        const canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [image.width, image.height];
        const context = canvas.getContext("2d");
        context.drawImage(image, 0, 0);
        const points = context.getImageData(0, 0, image.width, image.height).data;
        let text = "";
        for (let at = 0; at < points.length; at += 4) text += points[at] < 128 ? "0" : "1";
        done([image.width, image.height, text]);
    };
    image.src = "data:image/png;base64," + arguments[0];
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """One browser for all tests."""
    with desktop(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver


@pytest.fixture(scope="module")
def served(start_module_server: StartServer) -> tuple[ServerProcess, str]:
    """A server with a page that asks for no password."""
    return serve_page(start_module_server, "--host", "rd.example.org")


@pytest.fixture
def page(served: tuple[ServerProcess, str], browser: Chrome) -> Page:
    """Its page."""
    return Page(*served, browser)


def test_figures_move(page: Page, new_controlled: NewControlled) -> None:
    """Peers that come and go are counted on a page that nobody loads again, and drawn."""
    page.open("/")
    page.wait_text("#live", "Live")
    before = int(page.text("[data-figure=online]"))
    view = page.server.view()
    leaving = [new_controlled(view, way) for way in ("udp", "websocket", "secured")]
    page.wait_text("[data-figure=online]", str(before + 3))
    assert page.text("[data-figure=websocket]") == "1"
    for peer in leaving[1:]:
        peer.stop()
    page.wait_text("[data-figure=online]", str(before + 1))
    page.wait_text("[data-title='Peers online, last hour'] output", "now ")
    assert page.browser.find_element(By.CSS_SELECTOR, "polyline").get_attribute("points")


def test_add_a_client(page: Page) -> None:
    """The strings are those of the start, and a picture of the QR code says the same."""
    page.open("/client")
    assert page.text("#id-server") == f"rd.example.org:{page.server.port}"
    assert page.text("#import-string") in page.server.output
    assert page.text("#key") == page.server.view().key
    page.run("document.getElementById('qr').scrollIntoView({block: 'end'})")
    picture = page.browser.find_element(By.ID, "qr").screenshot_as_png
    page.browser.get("about:blank")
    width, height, points = page.browser.execute_async_script(GRAY, base64.b64encode(picture).decode())
    gray = bytes(255 if point == "1" else 0 for point in points)
    (code,) = zxingcpp.read_barcodes(memoryview(gray).cast("B", (height, width)))
    assert code.format == zxingcpp.BarcodeFormat.QRCode
    assert "rd.example.org" in code.text
    assert page.server.view().key in code.text


def test_peers(page: Page, new_controlled: NewControlled) -> None:
    """Those online are found by a part of their ids; the others too when they are asked for."""
    peer, other = (new_controlled(page.server.view(), "websocket") for _ in range(2))
    page.open("/peers")
    page.type("#search", peer.id[1:])
    page.wait_text("#peers tbody", peer.id)
    assert other.id not in page.text("#peers tbody")
    peer.stop()
    page.open(f"/peers?search={peer.id}")
    assert "None matches." in page.text("main")
    page.open(f"/peers?search={peer.id}&all=1&sort=created&descending=1")
    assert "offline" in page.text("#peers tbody")
    assert page.text("[aria-sort=descending]").startswith("Registered first")


def test_lists_refresh_themselves(page: Page, new_controlled: NewControlled) -> None:
    """Who comes online is seen without loading the page, but not while a row has the focus; what is typed stays."""
    view = page.server.view()
    staying = new_controlled(view, "websocket")
    page.open("/peers")
    field = page.browser.find_element(By.ID, "search")
    field.send_keys("half of a wo")
    second = new_controlled(view, "websocket")
    page.wait_text("#peers tbody", second.id)
    assert field.get_attribute("value") == "half of a wo"
    assert page.browser.switch_to.active_element == field
    page.run("document.querySelector('#live .wide').focus()")
    third = new_controlled(view, "websocket")
    page.run("window.heard = performance.now()")
    WebDriverWait(page.browser, TIMEOUT).until(lambda _: page.run("return performance.now() - heard > 6000"))
    assert third.id not in page.text("#peers tbody")
    page.run("document.activeElement.blur()")
    page.wait_text("#peers tbody", third.id)
    assert staying.id in page.text("#peers tbody")
    assert page.text("#state").startswith("Live.")


def test_requests(page: Page, new_controlled: NewControlled) -> None:
    """What was asked for, and how it ended: a punch to nobody, one that was answered, a relay request."""
    view = page.server.view()
    peer = new_controlled(view)
    with pytest.raises(RefusedError):
        Controlling(view).punch("123123123")
    Controlling(view).punch(peer.id)
    Controlling(view).request_relay(peer.id)
    page.open("/requests")
    rows = page.text("#requests tbody").splitlines()
    assert f"{peer.id} relayed" in rows[0]
    assert " relay " in rows[0]
    assert f"{peer.id} punched" in rows[1]
    assert " punch " in rows[1]
    assert "123123123 unknown" in rows[2]


def test_cut_a_session(page: Page) -> None:
    """A button ends a session for both sides."""
    view: Server = page.server.view()
    sides = [dial_relay("tcp", view.relay, (unique_source(), 0)) for _ in range(2)]
    name = str(uuid.uuid4())
    with closing(sides[0]), closing(sides[1]):
        for side in sides:
            request = pb.RequestRelay(uuid=name, licence_key=view.key)
            side.send(pb.RendezvousMessage(request_relay=request))
        sides[0].send_payload(b"hello")
        assert sides[1].receive_payload(10) == b"hello"
        page.open("/sessions")
        assert page.text("[role=status]") == "1 session"
        page.click("#sessions tbody a")
        page.wait_text("h1", "Cut session")
        page.click("main button")
        page.wait_text("[role=status]", "0 sessions")
        for side in sides:
            with pytest.raises(LinkClosedError):
                side.receive_payload(10)
    audit = page.server.data / "audit.log"
    wait_until(lambda: "cut session" in audit.read_text("utf-8"), 20, "the line of the audit")


def test_edit_a_list(page: Page) -> None:
    """What is added is in force and in the file, until it is removed; what is wrong is told."""
    page.open("/lists")
    page.type("#add-denylist", "192.0.2.0/24")
    page.wait_text("[aria-label='Entries of denylist']", "192.0.2.0/24")
    path = page.server.data / "denylist.txt"
    assert "192.0.2.0/24" in path.read_text("utf-8")
    page.click("[aria-label='Remove 192.0.2.0/24 from denylist']")
    page.wait_text("section", "0 entries")
    assert "192.0.2.0/24" not in path.read_text("utf-8")
    page.type("#add-blocklist", "no address")
    page.wait_text("main", "'no address' is not allowed in blocklist.txt")


def test_settings(page: Page) -> None:
    """Values, and where they came from."""
    page.open("/settings")
    rows = page.browser.find_elements(By.CSS_SELECTOR, "#settings tbody tr")
    (row,) = [row.text for row in rows if row.text.startswith("host ")]
    assert row.startswith("host rd.example.org the command line")


def test_login(start_server: StartServer, browser: Chrome) -> None:
    """With a password everything takes a login, which ends when it is told to."""
    page = Page(*serve_page(start_server, env={"STATUS_PASSWORD": PASSWORD_HASH}), browser)
    page.open("/settings")
    assert page.text("h1") == "Log in"
    page.type("#password", "wrong")
    page.wait_text("[role=alert]", "The password is wrong.")
    page.type("#password", PASSWORD)
    page.wait_text("h1", "Overview")
    page.wait_text("#live", "Live")
    page.open("/settings")
    assert "not shown" in page.text("#settings")
    assert PASSWORD_HASH not in browser.page_source
    page.click("nav form button")
    page.wait_text("h1", "Log in")
    page.open("/settings")
    assert page.text("h1") == "Log in"
