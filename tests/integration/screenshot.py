"""``python -m tests.integration.screenshot``: the picture of the status page in the documents."""

from __future__ import annotations

import random
import threading
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.controlled import Controlled, Registration
from tests.client.links import Link, dial_relay
from tests.integration.chromium import chromium
from tests.integration.pages import serve_page
from tests.integration.server import ROOT, ServerProcess
from tests.integration.support import unique_source

WAYS: tuple[Registration, ...] = ("udp", "udp", "secured", "websocket")
SECONDS = 90
"""How long peers come and go before the picture is made."""


def main() -> None:
    """Serves, lets peers come and go and relays a little, and writes docs/status.png."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="rendezvous-")))
        servers: list[ServerProcess] = []

        def start(*flags: str, port: int) -> ServerProcess:
            servers.append(ServerProcess(folder / "server", flags=flags, port=port).start())
            stack.callback(servers[-1].stop)
            return servers[-1]

        server, url = serve_page(start, "--host", "rd.example.org")
        view, chance, pause = server.view(), random.Random(5), threading.Event()
        sides = [
            stack.enter_context(closing(dial_relay("tcp", view.relay, (unique_source(), 0)))) for _ in range(2)
        ]
        name = str(uuid4())
        for side in sides:
            side.send(pb.RendezvousMessage(request_relay=pb.RequestRelay(uuid=name, licence_key=view.key)))
        driver = stack.enter_context(chromium(folder / "chromium", "--window-size=1000,1400"))
        driver.get(url + "/")
        for second in range(SECONDS):
            way: Registration = chance.choice(WAYS)
            if second % 3 == 0:
                client = Controlled(view, registration=way, source=unique_source())
                stack.callback(client.start().stop)
            relay(sides, chance.randrange(200_000))
            pause.wait(1)
        WebDriverWait(driver, 20).until(
            lambda _: "," in (driver.find_element(By.TAG_NAME, "polyline").get_attribute("points") or "")
        )
        known = int(driver.find_element(By.CSS_SELECTOR, "[data-figure=known]").text)
        assert known == len(range(0, SECONDS, 3)), f"{known} peers: somebody else has registered here"
        driver.save_screenshot(str(ROOT / "docs" / "status.png"))


def relay(sides: list[Link], size: int) -> None:
    """Sends some bytes through the relay."""
    sides[0].send_payload(bytes(size))
    sides[1].receive_payload(10)


if __name__ == "__main__":
    main()
