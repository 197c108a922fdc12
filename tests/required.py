"""Tests that need a tool are skipped without it; with RENDEZVOUS_REQUIRE=1, as in CI, they fail instead."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

REQUIRED = bool(os.environ.get("RENDEZVOUS_REQUIRE"))


def missing(reason: str) -> NoReturn:
    """Something that the running test needs is not there."""
    if REQUIRED:
        pytest.fail(reason)
    pytest.skip(reason)


def needs(found: object, reason: str) -> pytest.MarkDecorator:
    """A mark for tests that need something, which was found or not."""
    return pytest.mark.skipif(not found and not REQUIRED, reason=reason)
