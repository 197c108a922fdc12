"""The control socket: the API on a Unix socket in the data folder, for the server's own user and root."""

import contextlib
import os
import socket
import stat
import struct
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.web.http import INTERNAL_SERVER_ERROR
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface import implementer

from rendezvous.accepting import AcceptPolicy, Proxies
from rendezvous.admin.audit import By
from rendezvous.admin.operations import Operations
from rendezvous.admin.threads import in_thread
from rendezvous.admission import Admission
from rendezvous.config_values import ConfigError
from rendezvous.control_socket import control_socket, reachable
from rendezvous.logs import logger
from rendezvous.metrics import Drops
from rendezvous.settings import Settings
from rendezvous.stream_port import StreamPort
from rendezvous.web.channel import WebFactory
from rendezvous.wire.address import Address

PLACE = "control"
"""Where refusals of the socket are counted."""
_CREDENTIALS = struct.Struct("3i")
"""Process, user and group of who has connected (unix(7), SO_PEERCRED)."""
_MOST_CONNECTIONS = 32
_BACKLOG = 16
_UNREADABLE = b'{"error": "The server\'s user may not read the files of Python; its log tells which."}'
log = logger("admin")


class ControlService(Service):
    """Serves `operations` on the control socket of `settings`. Raises ConfigError for what is no socket.

    The socket is made when the service starts, by the user that the process goes on as; where another server of
    this kind has it, that one keeps it.
    """

    def __init__(self, settings: Settings, operations: Operations, drops: Drops, reactor: Any) -> None:
        self._path = control_socket(Path(settings.data), settings.server)
        self._reactor = reactor
        policy = AcceptPolicy(
            Admission(_MOST_CONNECTIONS, _MOST_CONNECTIONS),
            (),
            Proxies(),
            drops,
            reactor,
            settings.first_frame_timeout,
        )
        self._factory = _ControlFactory(policy, operations, reactor)
        self._port: StreamPort | None = None
        _check(self._path)

    def startService(self) -> None:
        """Makes the socket. A server whose folder it may not write to serves without one."""
        super().startService()
        if _listens(self._path):
            log.warn("the rendezvous command talks to another server, which has {path}", path=str(self._path))
            return
        try:
            self._port = StreamPort(self._reactor, _listening(self._path), self._factory)
        except OSError as error:
            log.error(
                "the rendezvous command can't talk to this server: {path} can't be made ({why}); give the "
                "folder to the server's user.",
                path=str(self._path),
                why=error.strerror,
            )
            return
        self._port.startListening()

    def stopService(self) -> None:
        """Removes the socket."""
        super().stopService()
        if self._port is not None:
            self._port.stopListening()
            self._port = None
            with contextlib.suppress(OSError):
                self._path.unlink()


def _check(path: Path) -> None:
    """Raises ConfigError when something that is no socket is at `path`."""
    with contextlib.suppress(OSError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise ConfigError(
                f"control: {str(path)!r} is no socket; remove it, or turn the socket off: --control no."
            )


def _listens(path: Path) -> bool:
    """Whether somebody does at `path`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.settimeout(1)
            with reachable(path) as name:
                probe.connect(name)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:  # it is another user's, or busy
            return True
    return True


def _listening(path: Path) -> socket.socket:
    """The socket, which nobody can connect to before it is its owner's alone."""
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        with reachable(path) as name:
            sock.bind(name)
            os.chmod(name, 0o600)
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


class _ControlFactory(WebFactory):
    """Accepts connections, all of which are administrators'."""

    def __init__(self, policy: AcceptPolicy, operations: Operations, reactor: Any) -> None:
        super().__init__(policy, _Api(operations, reactor), lambda head, source: None, None)
        self.place = PLACE

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        """See ServerFactory."""
        return self.admitted(Address("", 0))


@implementer(IResource)
class _Api(Resource):
    """The API, which is imported when it is first asked for something: in a thread, since that takes a while."""

    isLeaf = True

    def __init__(self, operations: Operations, reactor: Any) -> None:
        super().__init__()
        self._operations = operations
        self._reactor = reactor
        self._resource: Any = None

    def render(self, request: Request) -> Any:
        """See IResource."""
        if self._resource is not None:
            return self._resource.render(request)
        gone: list[Failure] = []
        request.notifyFinish().addErrback(gone.append)

        def imported(resource: Any) -> None:
            self._resource = self._resource or resource
            if not gone:
                request.render(self._resource)

        def failed(reason: Failure) -> None:  # after --uid, where Python belongs to another user
            reason.trap(ImportError)
            log.error("the control socket can't be served: {why}", why=reason.getErrorMessage())
            if not gone:
                request.setResponseCode(INTERNAL_SERVER_ERROR)
                request.setHeader(b"Content-Type", b"application/json")
                request.write(_UNREADABLE)
                request.finish()

        loaded = in_thread(self._reactor, _loaded, self._operations).addCallbacks(imported, failed)
        loaded.addErrback(lambda reason: log.failure("a request of an administrator failed", reason))
        return NOT_DONE_YET


def _loaded(operations: Operations) -> Any:
    from rendezvous.admin.api import resource

    return resource(operations, _user)


def _user(request: Any) -> By:
    """The Unix user at the other end of the socket."""
    _, user, _ = _CREDENTIALS.unpack(
        request.transport.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    )
    return By("root" if user == 0 else f"user {user}", "the control socket")
