"""Browsers that ask: who they are, what they send, and where they are sent."""

from typing import Any

from twisted.web.http import SEE_OTHER

from rendezvous.admin.audit import By
from rendezvous.admin.pages.logins import Logins
from rendezvous.admin.values import NotPossible


class Refused(Exception):
    """A request that is not served: the HTTP status, and one sentence."""

    def __init__(self, code: int, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


class Visitors:
    """Knows browsers by their cookie, which is that of one of the `logins`."""

    def __init__(self, logins: Logins, cookie_name: bytes) -> None:
        self.logins = logins
        self._cookie_name = cookie_name

    def cookie(self, request: Any) -> bytes:
        """The cookie of the browser; empty when it has none."""
        return request.getCookie(self._cookie_name) or b""

    def set_cookie(self, request: Any, cookie: bytes) -> None:
        """Gives the browser another one."""
        secure = request.isSecure() or request.getHeader("x-forwarded-proto") == "https"
        request.addCookie(self._cookie_name, cookie, path=b"/", secure=secure, httpOnly=True, sameSite=b"strict")

    def may(self, request: Any) -> bool:
        """Whether the browser may see and do everything."""
        return self.logins.may(self.cookie(request))

    def used(self, request: Any) -> None:
        """Somebody has asked for something, which keeps the login alive."""
        self.logins.used(self.cookie(request))

    def token(self, request: Any) -> str:
        """What a change by this browser has to carry."""
        return self.logins.token(self.cookie(request))

    def has_token(self, request: Any) -> bool:
        """Whether a change came from a page of this server, as the same browser got it."""
        return self.logins.is_token(field(request, "token").encode(), self.cookie(request))

    def by(self, request: Any) -> By:
        """Who asks."""
        return By("administrator" if self.logins.needed else "somebody", host_of(request))


def field(request: Any, name: str) -> str:
    """A field of a form or a query; empty when it is missing. Raises NotPossible."""
    try:
        value: str = request.args.get(name.encode(), [b""])[-1].decode("utf-8")
    except UnicodeDecodeError:
        raise NotPossible(f"{name} is no UTF-8.") from None
    return value


def host_of(request: Any) -> str:
    """The address of the browser."""
    host: str = request.getClientAddress().host
    return host


def elsewhere(request: Any, path: bytes) -> bytes:
    """Sends the browser to another page."""
    request.setResponseCode(SEE_OTHER)
    request.setHeader(b"Location", path)
    return b""
