"""``python -m tests.integration.screenshot``: the pictures of the status page in the documents."""

from __future__ import annotations

import base64
import random
import threading
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from selenium.webdriver import Chrome

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.controlled import Controlled, Registration
from tests.client.links import Link, Server, dial_relay
from tests.integration.browsing import Page, looking
from tests.integration.chromium import desktop
from tests.integration.filled import store_offline
from tests.integration.pages import serve_page
from tests.integration.past import PEERS
from tests.integration.server import ROOT, ServerProcess
from tests.integration.support import unique_source

WAYS: tuple[Registration, ...] = ("udp", "udp", "udp", "secured", "websocket")
ONLINE, SESSIONS = 50, 5
"""As many as the remembered day ends with."""
SECONDS = 30
"""How long there is traffic before the pictures are made."""
PORT = 21116
"""Where the pictures show no port that is unusual."""
SHOWN_DATA = "/srv/rendezvous"
"""Stands in the pictures for the folder of this run."""


def main() -> None:
    """Serves, lets peers come and relays a little, and writes three pictures into docs."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="rendezvous-")))

        def start(*flags: str, **settings: object) -> ServerProcess:
            server = ServerProcess(folder / "server", flags=flags, **settings).start()  # type: ignore[arg-type]
            stack.callback(server.stop)
            return server

        server, url = serve_page(start, "--host", "rd.example.org", port=PORT, past=True)
        store_offline(server, PEERS)
        for number in range(ONLINE):
            way = WAYS[number % len(WAYS)]
            stack.enter_context(Controlled(server.view(), registration=way, source=unique_source()))
        sessions = [new_session(server.view(), stack) for _ in range(SESSIONS)]
        driver = stack.enter_context(desktop(folder / "chromium"))
        page, chance, pause = Page(server, url, driver), random.Random(5), threading.Event()
        page.open("/")
        for _ in range(SECONDS * 10):
            for first, second in sessions:
                first.send_payload(bytes(chance.randrange(60_000)))
                second.receive_payload(10)
            pause.wait(0.1)
        page.wait_text("[data-title='Peers online, last hour'] output", f"now {ONLINE}")
        known = page.text("[data-figure=known]")
        assert known == str(PEERS + ONLINE), f"{known} peers: somebody else has registered here"
        take(page, "desktop", "light", 1290, "status.png")
        page.open("/client")
        take(page, "desktop", "light", 810, "client.png")
        page.open("/")
        page.wait_text("[data-title='Peers online, last hour'] output", "now ")
        page.wait_text("#live", "Live")
        take(page, "phone", "dark", 1500, "phone.png")


def new_session(view: Server, stack: ExitStack) -> tuple[Link, Link]:
    """Both sides of a relayed stream."""
    first, second = (
        stack.enter_context(closing(dial_relay("tcp", view.relay, (unique_source(), 0)))) for _ in range(2)
    )
    request = pb.RequestRelay(uuid=str(uuid4()), licence_key=view.key)
    for side in (first, second):
        side.send(pb.RendezvousMessage(request_relay=request))
    return first, second


def take(page: Page, size: str, scheme: str, height: int, name: str) -> None:
    """Writes the upper part of a page as a picture."""
    with looking(page.browser, size, scheme):
        hide_folder(page.browser, str(page.server.data))
        width = page.run("return innerWidth")
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        options = {"captureBeyondViewport": True, "clip": clip}
        picture = page.browser.execute_cdp_cmd("Page.captureScreenshot", options)["data"]
        (ROOT / "docs" / name).write_bytes(base64.b64decode(picture))


def hide_folder(browser: Chrome, folder: str) -> None:
    """Shows a folder of everybody's instead of this one."""
    script = """
        for (const code of document.querySelectorAll("code")) {
            if (code.textContent === arguments[0]) code.textContent = arguments[1];
        }
        return document.body.textContent.includes(arguments[0]);
    """
    assert not browser.execute_script(script, folder, SHOWN_DATA)


if __name__ == "__main__":
    main()
