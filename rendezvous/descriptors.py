"""How many descriptors there may be, and how many connections that allows."""

import resource
from dataclasses import replace

from rendezvous.settings import Settings

_RESERVED = 200
"""Descriptors for everything but connections."""
_PER_RELAY_CONNECTION = 3
"""A relay connection has a socket, and a pipe of two ends while bytes of it are stuck."""
_PER_WEB_CONNECTION = 2
"""A web connection has a socket, and one to the API server."""


def descriptor_limit() -> int:
    """How many descriptors may be open."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def raise_descriptor_limit() -> int:
    """Raises the limit of open descriptors as far as this user may; returns it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def fit_to_descriptors(settings: Settings, descriptors: int) -> Settings:
    """`settings` with limits of connections that so many `descriptors` allow, and a warning if they are lower.

    Of the relay's connections no more than half may wait, so that there is room for their other sides.
    """
    fitted = _fit_connections(settings, descriptors)
    return replace(fitted, max_waiting=min(fitted.max_waiting, fitted.max_relay_connections // 2))


def _fit_connections(settings: Settings, descriptors: int) -> Settings:
    need = settings.max_connections * settings.has_hbbs
    need += _PER_RELAY_CONNECTION * settings.max_relay_connections * settings.has_hbbr
    need += _PER_WEB_CONNECTION * settings.max_web_connections * settings.has_web
    share = max(descriptors - _RESERVED, 10) / need
    if share >= 1:
        return settings
    warning = (
        f"max-connections, max-relay-connections and max-web-connections take {need + _RESERVED} descriptors, "
        f"but the system gives {descriptors}, so they are {share:.0%} of what is set; "
        "raise its limit (LimitNOFILE=, ulimit -Hn)."
    )
    return replace(
        settings,
        max_connections=max(1, int(settings.max_connections * share)),
        max_relay_connections=max(2, int(settings.max_relay_connections * share)),
        max_web_connections=max(1, int(settings.max_web_connections * share)),
        warnings=(*settings.warnings, warning),
    )
