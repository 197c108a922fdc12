"""The running server, asked over its control socket."""

import http.client
import json
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import click

from rendezvous.control_socket import control_socket, reachable
from rendezvous.setting import Server

_CONNECT = 5.0
"""Seconds that the server may take to accept."""
_ANSWER = 3600.0
"""Seconds that it may take to answer: a purge or a backup of a big database is long."""


class NotRunning(click.ClickException):
    """There is no server to ask."""


class RunningServer:
    """A server that runs. Its methods raise ClickException with what the server refuses something for."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def get(self, path: str, **query: str | int) -> Any:
        """What is below /api/v1 at `path`."""
        return self.ask("GET", f"{path}?{urlencode(query)}" if query else path)

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The answer to a request."""
        connection = _Connection(self.path)
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, f"/api/v1/{path}", content, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = json.loads(response.read())
        except (FileNotFoundError, ConnectionRefusedError):
            raise NotRunning(f"There is no server at {self.path}.") from None
        except PermissionError:
            raise click.ClickException(
                f"{self.path} is for the server's user and root; run this command as one of them."
            ) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise click.ClickException(f"The server at {self.path} does not answer: {error}.") from None
        finally:
            connection.close()
        if response.status != http.client.OK:
            raise click.ClickException(answer["error"])
        return answer


def running(data: Path, *kinds: Server) -> list[RunningServer]:
    """The servers that run on a data folder, of these kinds or of any."""
    paths = [control_socket(data.resolve(), kind) for kind in kinds or ("both", "hbbs", "hbbr")]
    return [RunningServer(path) for path in paths if _answers(path)]


def all_running(data: Path) -> list[RunningServer]:
    """The servers that run on a data folder. Raises NotRunning when there is none."""
    found = running(data)
    if not found:
        raise NotRunning(
            f"No server runs on {data.resolve()}, or it has --control no. --data names its data folder."
        )
    return found


def id_server(data: Path) -> RunningServer:
    """The ID server that runs on a data folder. Raises NotRunning."""
    return _one(data, "ID server", ("both", "hbbs"))


def relay(data: Path) -> RunningServer:
    """The relay that runs on a data folder. Raises NotRunning."""
    return _one(data, "relay", ("both", "hbbr"))


def _one(data: Path, what: str, kinds: Sequence[Server]) -> RunningServer:
    found = running(data, *kinds)
    if not found:
        raise NotRunning(
            f"No {what} runs on {data.resolve()}, or it has --control no. --data names its data folder."
        )
    return found[0]


def _answers(path: Path) -> bool:
    connection = _Connection(path)
    try:
        connection.connect()
    except PermissionError:
        return True  # asking it says why it can't be asked
    except OSError:
        return False
    finally:
        connection.close()
    return True


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_CONNECT)
        self._path = path

    def connect(self) -> None:
        """Connects to the socket instead of a host."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with reachable(self._path) as name:
                self.sock.settimeout(_CONNECT)
                self.sock.connect(name)
                self.sock.settimeout(_ANSWER)
        except BaseException:
            self.sock.close()
            raise
