"""A status page in a browser: what it shows, and what axe says of it."""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from tests.integration.chromium import TIMEOUT
from tests.integration.server import ServerProcess

AXE = importlib.resources.files("axe_core_python").joinpath("axe.min.js").read_text("utf-8")
OUT_OF_VIEW = """
    const out = element => {
        const box = element.getBoundingClientRect();
        return !box.width || box.left < 0 || box.right > innerWidth;
    };
    return Array.from(document.querySelectorAll(arguments[0])).filter(out).map(element => element.textContent);
"""
SIZES = {"phone": (390, 844), "desktop": (1280, 900)}
"""Width and height in pixels."""


@dataclass(frozen=True)
class Page:
    """The page of a server, in a browser."""

    server: ServerProcess
    url: str
    browser: Chrome

    def open(self, path: str) -> None:
        """Loads a page."""
        self.browser.get(self.url + path)

    def text(self, selector: str) -> str:
        """What an element shows."""
        return self.browser.find_element(By.CSS_SELECTOR, selector).text

    def count(self, selector: str) -> int:
        """How many elements there are."""
        return len(self.browser.find_elements(By.CSS_SELECTOR, selector))

    def wait_text(self, selector: str, text: str) -> None:
        """Waits until an element shows a text, also while the page is replaced by another."""
        waiting = WebDriverWait(self.browser, TIMEOUT, 0.1, [StaleElementReferenceException])
        waiting.until(lambda _: text in self.text(selector))

    def run(self, script: str) -> Any:
        """What a script returns."""
        return self.browser.execute_script(script)

    def click(self, selector: str) -> None:
        """Clicks on an element."""
        self.browser.find_element(By.CSS_SELECTOR, selector).click()

    def type(self, selector: str, text: str) -> None:
        """Types into a field, and sends its form."""
        field = self.browser.find_element(By.CSS_SELECTOR, selector)
        field.clear()
        field.send_keys(text)
        field.submit()

    def press(self, key: str) -> None:
        """Presses a key, wherever the focus is."""
        self.browser.switch_to.active_element.send_keys(key)

    def tab_to(self, selector: str, most: int = 100) -> None:
        """Presses Tab until an element has the focus."""
        reached = f"return document.activeElement.matches({selector!r})"
        for _ in range(most):
            self.press(Keys.TAB)
            if self.run(reached):
                return
        raise AssertionError(f"Tab does not lead to {selector}")

    def out_of_view(self, selector: str) -> list[str]:
        """Those elements that can't be seen without moving anything sideways."""
        found: list[str] = self.browser.execute_script(OUT_OF_VIEW, selector)
        return found

    def serious(self) -> list[str]:
        """What axe finds that is serious or critical."""
        self.run(AXE)
        script = "const done = arguments[arguments.length - 1]; axe.run().then(done);"
        found = self.browser.execute_async_script(script)["violations"]
        return [f"{f['id']}: {f['nodes'][0]['html']}" for f in found if f["impact"] in ("serious", "critical")]


@contextmanager
def looking(browser: Chrome, size: str, scheme: str = "light") -> Iterator[None]:
    """The browser looks as on a phone or a desktop, light or dark."""
    width, height = SIZES[size]
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == "phone"}
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        yield
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
