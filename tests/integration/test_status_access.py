"""The status page with something on every page: for phones, keyboards and screen readers, light and dark."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.client.links import LinkClosedError
from tests.integration.browsing import SIZES, Page, looking
from tests.integration.chromium import desktop, needs_chromium
from tests.integration.filled import OFFLINE, Filled, filled
from tests.integration.pages import PAGES, PASSWORD_HASH, serve_page
from tests.integration.support import StartServer
from tests.integration.test_relay import pair

pytestmark = needs_chromium
CONTENT = {
    "/": "svg polyline[points*=',']",
    "/client": "#qr svg",
    "/peers": "#peers tbody tr:nth-child(4)",
    "/sessions": "#sessions tbody tr td:nth-child(2)",
    "/requests": "#requests tbody tr:nth-child(3)",
    "/relays": "#relays tbody tr:nth-child(2)",
    "/lists": "section:nth-of-type(2) tbody tr",
    "/settings": "#settings tbody tr",
}
"""What is on a page only when there is something to show."""
GROUNDS = {"light": "rgb(251, 251, 250)", "dark": "rgb(20, 23, 26)"}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """One browser for all tests."""
    with desktop(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver


@pytest.fixture(scope="module")
def full(start_module_server: StartServer) -> Iterator[Filled]:
    """A server with something on every page."""
    with filled(start_module_server, "--host", "rd.example.org") as full:
        yield full


@pytest.fixture
def page(full: Filled, browser: Chrome) -> Page:
    """Its page."""
    return Page(full.server, full.url, browser)


@pytest.fixture(scope="module")
def closed(start_module_server: StartServer, browser: Chrome) -> Page:
    """The page of a server that asks for a password."""
    return Page(*serve_page(start_module_server, env={"STATUS_PASSWORD": PASSWORD_HASH}), browser)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_accessible(page: Page, closed: Page, size: str, scheme: str) -> None:
    """axe finds nothing serious on any page with contents, which fit the width of a phone and of a desktop."""
    number = session_number(page)
    with looking(page.browser, size, scheme):
        for shown, path in [
            *((page, path) for path in PAGES),
            (page, "/peers?all=1&sort=seen"),
            (page, f"/sessions/{number}/cut"),
            (page, "/nothing"),
            (closed, "/login"),
        ]:
            shown.open(path)
            if path == "/":
                shown.wait_text("[data-title='Peers online, last day'] output", "now ")
            assert path not in CONTENT or shown.count(CONTENT[path]), path
            width = page.run("return document.documentElement.scrollWidth")
            assert width <= SIZES[size][0], path
            assert page.run("return getComputedStyle(document.body).backgroundColor") == GROUNDS[scheme]
            assert shown.serious() == [], path


@pytest.mark.parametrize("path", ["/peers", "/peers?all=1", "/sessions", "/requests", "/relays"])
@pytest.mark.parametrize("size", SIZES)
def test_rows_are_in_view(page: Page, path: str, size: str) -> None:
    """Nobody has to move a table sideways to see all of it, or to find a button."""
    with looking(page.browser, size):
        page.open(path)
        assert page.count("tbody td") > 1
        assert page.out_of_view("tbody th, tbody td, tbody a, tbody button") == []


def test_cut_with_the_keyboard(page: Page, full: Filled) -> None:
    """Tab leads to a session's "Cut", Enter asks, and Enter again ends it for both sides, and no other one."""
    with pair(full.server.view(), "tcp", "tcp") as (one, other):
        one.send_payload(bytes(50_000))
        assert len(other.receive_payload(10)) == 50_000
        page.open("/sessions")
        page.tab_to("#sessions tbody tr:first-child a")
        assert page.run("return document.activeElement.textContent") == "Cut"
        page.press(Keys.ENTER)
        page.wait_text("h1", "Cut session")
        page.tab_to("main button")
        page.press(Keys.ENTER)
        page.wait_text("[role=status]", "1 session")
        for side in (one, other):
            with pytest.raises(LinkClosedError):
                side.receive_payload(10)
    full.sides[0].send_payload(b"still here")
    assert full.sides[1].receive_payload(10) == b"still here"


def test_skip_link(page: Page) -> None:
    """The first Tab shows a link, and Enter on it goes past the menu."""
    page.open("/lists")
    page.press(Keys.TAB)
    link = page.browser.switch_to.active_element
    assert link.text == "To the content"
    assert link.rect["x"] >= 0
    page.press(Keys.ENTER)
    page.press(Keys.TAB)
    assert page.run("return document.activeElement.closest('main') !== null")


def test_relays(page: Page, full: Filled) -> None:
    """Each relay is told with its place, and whether it answers."""
    page.open("/relays")
    rows = [row.text for row in page.browser.find_elements(By.CSS_SELECTOR, "#relays tbody tr")]
    assert rows == [
        f"{full.own} in use 50.10° N, 8.70° E",
        f"{full.dead} does not answer 1.35° N, 103.80° E",
    ]


def test_chart_of_the_day(page: Page) -> None:
    """A day that the server remembers is drawn over the whole width, with its scale."""
    page.open("/")
    page.wait_text("[data-title='Peers online, last day'] output", "now ")
    chart = "figure[data-title='Peers online, last day']"
    points = page.browser.find_element(By.CSS_SELECTOR, f"{chart} polyline").get_attribute("points")
    across, heights = zip(*(map(float, point.split(",")) for point in (points or "").split()), strict=True)
    assert len(across) > 280
    assert across[0] < 10
    assert across[-1] > 590
    assert list(across) == sorted(across)
    assert min(heights) < 20, "the busiest time is near the top"
    assert max(heights) > 80, "the night is near the bottom"
    assert page.text(f"{chart} .from") == "24 h ago"
    scale = [label.text for label in page.browser.find_elements(By.CSS_SELECTOR, f"{chart} .scale span")]
    assert scale == ["500", "250", "0"]


def test_pages_of_peers(page: Page) -> None:
    """Next and Previous lead through all of them."""
    page.open("/peers?all=1")
    seen: list[str] = []
    while True:
        seen += [row.text for row in page.browser.find_elements(By.CSS_SELECTOR, "#peers tbody th")]
        following = page.browser.find_elements(By.LINK_TEXT, "Next")
        if not following:
            break
        following[0].click()
    assert len(seen) == len(set(seen)) == OFFLINE + 4
    assert seen == sorted(seen)
    page.browser.find_element(By.LINK_TEXT, "Previous").click()
    assert page.text("#peers tbody th") == seen[50]


def session_number(page: Page) -> str:
    """The number of the first session."""
    page.open("/sessions")
    return page.text("#sessions tbody th")
