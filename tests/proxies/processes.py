"""The proxies of Debian as processes of the tests: own configuration, own folder, no service of the package."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.client.threads import wait_until
from tests.integration.server import environment
from tests.required import missing

START_TIMEOUT, STOP_TIMEOUT = 20.0, 10.0

# What Debian's own nginx.conf has around the files of conf.d, with the files of the process in its folder.
_NGINX = """
{user}
error_log stderr;
pid nginx.pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    include site.conf;
}}
"""


@contextmanager
def nginx(folder: Path, site: str, *ports: int) -> Iterator[None]:
    """Runs nginx with a file of its conf.d until it is no longer needed."""
    user = "" if os.geteuid() else "user root root;"
    (folder / "nginx.conf").write_text(_NGINX.format(user=user), "utf-8")
    (folder / "site.conf").write_text(site, "utf-8")
    command = ["nginx", "-p", str(folder), "-c", "nginx.conf", "-e", "stderr", "-g", "daemon off;"]
    with _running(command, folder, ports):
        yield


@contextmanager
def caddy(folder: Path, caddyfile: str, *ports: int) -> Iterator[None]:
    """Runs Caddy until it is no longer needed."""
    (folder / "Caddyfile").write_text(caddyfile, "utf-8")
    with _running(["caddy", "run", "--config", "Caddyfile", "--adapter", "caddyfile"], folder, ports):
        yield


@contextmanager
def haproxy(folder: Path, configuration: str, *ports: int, inside: Sequence[str] = ()) -> Iterator[None]:
    """Runs HAProxy until it is no longer needed, `inside` a namespace if there is a command that enters one."""
    (folder / "haproxy.cfg").write_text(configuration, "utf-8")
    with _running(["haproxy", "-db", "-f", "haproxy.cfg"], folder, ports, inside):
        yield


@contextmanager
def _running(
    command: Sequence[str], folder: Path, ports: Sequence[int], inside: Sequence[str] = ()
) -> Iterator[None]:
    """Runs a program in the foreground; skips where it is missing. All of its ports are open inside."""
    variables = environment(folder)
    program = shutil.which(command[0], path=variables.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if program is None:
        missing(f"{command[0]} is not installed")
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*inside, program, *command[1:]],
            cwd=folder,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        with suppress(TimeoutError):
            wait_until(lambda: process.poll() is not None or all(map(_open, ports)), START_TIMEOUT)
        assert process.poll() is None, log.read_text("utf-8", "replace")
        assert all(map(_open, ports)), log.read_text("utf-8", "replace")
        yield
        assert process.poll() is None, log.read_text("utf-8", "replace")
    finally:
        _end(process)


def _open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a program, and the processes that it has made if it does not end them itself."""
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
