"""Debian's Chromium without a window, driven by Selenium."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

from tests.required import needs

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
TIMEOUT = 60.0
"""Seconds that a page may take on a busy machine."""

needs_chromium = needs(CHROMIUM and DRIVER, "there is no Chromium with its chromedriver")


@contextmanager
def desktop(folder: Path) -> Iterator[Chrome]:
    """A browser with a window for a desktop, whose scripts have time on a busy machine."""
    with chromium(folder, "--window-size=1280,900") as driver:
        driver.set_script_timeout(TIMEOUT)
        yield driver


@contextmanager
def chromium(folder: Path, *arguments: str) -> Iterator[Chrome]:
    """A browser that keeps its files in `folder`, started with more `arguments`."""
    options = ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for argument in (
        "--headless=new",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        f"--user-data-dir={folder}",
        *arguments,
        *(["--no-sandbox"] if os.geteuid() == 0 else []),
    ):
        options.add_argument(argument)
    driver = Chrome(options, Service(DRIVER or "", env=os.environ | {"HOME": str(folder)}))
    try:
        yield driver
    finally:
        driver.quit()
