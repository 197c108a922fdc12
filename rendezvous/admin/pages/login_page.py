"""The login page: logging in, and out."""

from typing import Any

from twisted.web.http import FORBIDDEN

from rendezvous.admin.audit import Audit, By
from rendezvous.admin.pages.logins import TOO_MANY_REQUESTS, TooOften
from rendezvous.admin.pages.rendering import Templates
from rendezvous.admin.pages.visitors import Visitors, elsewhere, field, host_of
from rendezvous.config_values import LONGEST_PASSWORD


class LoginPage:
    """Asks for the password. Who logs in, out, or tries to is noted in `audit`."""

    def __init__(self, visitors: Visitors, audit: Audit, templates: Templates) -> None:
        self._visitors = visitors
        self._logins = visitors.logins
        self._audit = audit
        self._page = templates.page

    def login(self, request: Any) -> bytes:
        """The form, for those who need it."""
        return elsewhere(request, b"/") if self._visitors.may(request) else self._page(request, "login", wrong="")

    async def log_in(self, request: Any) -> bytes:
        """Logs in with the password of the form."""
        if not self._logins.needed:
            return elsewhere(request, b"/")
        try:
            made = await self._logins.log_in(
                field(request, "password").encode()[:LONGEST_PASSWORD], host_of(request)
            )
        except TooOften:
            request.setResponseCode(TOO_MANY_REQUESTS)
            return self._page(request, "login", wrong="Too many tries. Wait some minutes.")
        if made is None:
            self._audit.note(By("somebody", host_of(request)), "tried to log in with a wrong password")
            request.setResponseCode(FORBIDDEN)
            return self._page(request, "login", wrong="The password is wrong.")
        self._logins.log_out(self._visitors.cookie(request))
        self._visitors.set_cookie(request, made)
        self._audit.note(self._visitors.by(request), "logged in")
        return elsewhere(request, b"/")

    def log_out(self, request: Any) -> bytes:
        """Ends the login."""
        self._logins.log_out(self._visitors.cookie(request))
        self._audit.note(self._visitors.by(request), "logged out")
        return elsewhere(request, b"/login")
