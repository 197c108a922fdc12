"""Which requests may be forwarded to the API server, and with which of their headers."""

import posixpath
from collections.abc import Iterable
from urllib.parse import quote, unquote

_HOP_BY_HOP = frozenset(
    {
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te",
        "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip
_CLIENT = frozenset(
    {
        "forwarded", "x-real-ip", "true-client-ip", "cf-connecting-ip", "x-client-ip", "x-cluster-client-ip",
    }
)  # fmt: skip


def api_path(path: str) -> str | None:
    """`path` in its normal form, with its query, when it is below ``/api/``; else None."""
    plain, mark, query = path.partition("?")
    decoded = unquote(plain)
    if not decoded.startswith("/") or "\\" in decoded or "#" in decoded or not decoded.isprintable():
        return None
    if any(";" in segment and segment.partition(";")[0] in (".", "..") for segment in decoded.split("/")):
        return None  # some servers take these for ``.`` and ``..``
    normal = posixpath.normpath("/" + decoded.lstrip("/"))
    if not normal.startswith("/api/"):
        return None
    if decoded.endswith("/"):
        normal += "/"
    if not query.isascii() or not query.isprintable() or " " in query:
        return None
    return quote(normal, safe="/:@!$&'()*+,;=~") + mark + query


def names_client(header: str) -> bool:
    """Whether the API server learns from a header whose call it is; that is only for this server to say.

    Some API servers read ``_`` as ``-``.
    """
    name = header.lower().replace("_", "-")
    return name in _CLIENT or name.startswith("x-forwarded-")


def hop_by_hop(connection: Iterable[str]) -> frozenset[str]:
    """The names, in small letters, of the headers that concern one connection; it says so in `connection`."""
    named = {word.strip().lower() for value in connection for word in value.split(",")}
    return _HOP_BY_HOP | named
