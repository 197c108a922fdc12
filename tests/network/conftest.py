"""The laboratory of this worker, started when the first test needs it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.network.lab import Lab, unusable
from tests.network.meetings import Meetings
from tests.required import missing


@pytest.fixture(scope="session", autouse=True)
def usable() -> None:
    """Skip every test where there can be no laboratory, with the reason."""
    if reason := unusable():
        missing(reason)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The laboratory."""
    with Lab(tmp_path_factory.mktemp("network")) as made:
        yield made


@pytest.fixture(scope="session")
def meetings(lab: Lab) -> Meetings:
    """One server with default settings, and the clients that reach each other by it."""
    return Meetings(lab)
