"""A resource behind the password, for programs: HTTP Basic authentication (RFC 7617)."""

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.http import INTERNAL_SERVER_ERROR, UNAUTHORIZED
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from rendezvous.admin.pages.logins import TOO_MANY_REQUESTS, Logins, TooOften
from rendezvous.config_values import LONGEST_PASSWORD
from rendezvous.logs import logger
from rendezvous.metrics import Drops
from rendezvous.web.channel import PLACE
from rendezvous.web.site import not_found


class Private(Resource):
    """`resource` for those who send the password of `logins`, whatever name they give."""

    isLeaf = True
    log = logger("admin")

    def __init__(self, resource: Resource, logins: Logins, drops: Drops) -> None:
        super().__init__()
        self._resource = resource
        self._logins = logins
        self._drops = drops

    def render_GET(self, request: Request) -> bytes | int:
        """See Resource."""
        request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
        if request.postpath:
            return not_found(request)
        gone: list[Failure] = []
        request.notifyFinish().addErrback(gone.append)

        def answered(body: bytes | Failure) -> None:
            if isinstance(body, Failure):
                self.log.failure("a page failed", body)
                request.setResponseCode(INTERNAL_SERVER_ERROR)
                body = b""
            if not gone:
                request.write(body)
                request.finish()

        Deferred.fromCoroutine(self._answer(request)).addBoth(answered)
        return NOT_DONE_YET

    async def _answer(self, request: Request) -> bytes:
        password = request.getPassword()[:LONGEST_PASSWORD]
        try:
            if password and await self._logins.is_right(password, request.getClientAddress().host):
                body: bytes = self._resource.render(request)
                return body
        except TooOften:
            self._drops.count(PLACE, "too_many_passwords")
            request.setResponseCode(TOO_MANY_REQUESTS)
            return b"Too many tries. Wait some minutes.\n"
        if password:
            self._drops.count(PLACE, "wrong_password")
        request.setResponseCode(UNAUTHORIZED)
        request.setHeader(b"WWW-Authenticate", b'Basic realm="rendezvous"')
        return b"This takes the password.\n"
