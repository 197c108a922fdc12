"""What the web ports answer themselves: certificates' challenges, a way to https, and that there is nothing."""

import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.web.http import NO_CONTENT, NOT_FOUND, PERMANENT_REDIRECT
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface import implementer

_HOST = re.compile(rb"([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")
_TOKEN = re.compile(rb"[A-Za-z0-9_-]{1,200}")
_LONGEST = 4096
"""Bytes of a challenge."""


class Besides(NamedTuple):
    """What the port with TLS serves where it is asked for; `ended` is told when the port is closed."""

    pages: Resource | None = None
    metrics: Resource | None = None
    ended: Callable[[], None] = lambda: None


def secure_site(besides: Besides) -> Resource:
    """The resources of the port with TLS: `besides`, or nothing."""
    root = _Elsewhere(0, besides.pages)
    if besides.metrics is not None:
        root.putChild(b"metrics", besides.metrics)
    return root


def plain_site(acme_webroot: Path | None, https_port: int) -> Resource:
    """The resources of the port without: challenges from a folder that certbot writes to, if there is one.

    With an `https_port` everything else is redirected to that; 0: there is none.
    """
    root = _Elsewhere(https_port)
    if acme_webroot is not None:
        well_known = _Elsewhere(https_port)
        root.putChild(b".well-known", well_known)
        folder = Path(acme_webroot, ".well-known", "acme-challenge")
        well_known.putChild(b"acme-challenge", _Challenges(folder, https_port))
    return root


def not_found(request: Request) -> bytes:
    """Says that there is nothing."""
    request.setResponseCode(NOT_FOUND)
    return b"There is nothing here.\n"


class _Answer(Resource):
    """A resource without children, whatever is below it. Web pages of any origin may ask."""

    isLeaf = True

    def render(self, request: Request) -> bytes | int:
        """See IResource."""
        request.setHeader(b"Access-Control-Allow-Origin", b"*")
        request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
        request.setHeader(b"X-Content-Type-Options", b"nosniff")
        if request.method == b"OPTIONS":
            request.setHeader(b"Allow", b"GET, HEAD, OPTIONS")
            request.setHeader(b"Access-Control-Allow-Methods", b"GET, HEAD, OPTIONS")
            request.setHeader(b"Access-Control-Allow-Headers", b"*")
            request.setHeader(b"Access-Control-Max-Age", b"86400")
            request.setResponseCode(NO_CONTENT)
            return b""
        body = self.answer(request)
        if request.method == b"HEAD" and isinstance(body, bytes):
            request.setHeader(b"Content-Length", b"%d" % len(body))
            return b""
        return body

    def answer(self, request: Request) -> bytes | int:
        """The body, or that it comes later; 404 unless a subclass has something better."""
        return not_found(request)


class _Redirect(_Answer):
    """The same address with https, on `port` of this host."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = b"" if port == 443 else b":%d" % port

    def answer(self, request: Request) -> bytes | int:
        """See _Answer."""
        host = _HOST.fullmatch(request.getHeader(b"host") or b"")
        if host is None or not request.uri.startswith(b"/"):
            return super().answer(request)
        request.setHeader(b"Location", b"https://" + host[1] + self._port + request.uri)
        request.setResponseCode(PERMANENT_REDIRECT)
        return b"This is served over https.\n"


@implementer(IResource)
class _Elsewhere(Resource):
    """What has no resource of its own: `pages`, where there are, get whole paths."""

    def __init__(self, https_port: int, pages: Resource | None = None) -> None:
        super().__init__()
        self._answer = pages or (_Redirect(https_port) if https_port else _Answer())

    def getChild(self, path: bytes, request: Request) -> Resource:
        """See IResource."""
        request.prepath, request.postpath = (request.prepath or [])[:-1], [path, *(request.postpath or [])]
        return self._answer

    def render(self, request: Request) -> Any:
        """See IResource."""
        return self._answer.render(request)


class _Challenges(_Elsewhere):
    """The files of a folder that a certificate authority asks for."""

    def __init__(self, folder: Path, https_port: int) -> None:
        super().__init__(https_port)
        self._folder = folder

    def getChild(self, path: bytes, request: Request) -> Resource:
        """See IResource."""
        if request.postpath or not _TOKEN.fullmatch(path):
            return _Answer()
        return _Challenge(self._folder / path.decode("ascii"))


class _Challenge(_Answer):
    """One of them."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file = file

    def answer(self, request: Request) -> bytes | int:
        """See _Answer."""
        gone: list[Failure] = []
        request.notifyFinish().addErrback(gone.append)

        def answered(text: bytes | Failure) -> None:
            if gone:
                return
            if isinstance(text, Failure):
                text.trap(OSError)
                text = not_found(request)
            request.setHeader(b"Content-Length", b"%d" % len(text))
            request.write(text)
            request.finish()

        deferToThread(self._read).addBoth(answered)
        return NOT_DONE_YET

    def _read(self) -> bytes:
        # No way out of the folder by a link, and no waiting for who writes to a pipe.
        descriptor = os.open(self._file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise FileNotFoundError
            return os.read(descriptor, _LONGEST)
        finally:
            os.close(descriptor)
