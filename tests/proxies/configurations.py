"""The configurations of docs/proxies with the ports, paths and times of a test: all substitutions are here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tests.integration.server import ROOT

FOLDER = ROOT / "docs" / "proxies"
DOMAIN = "rd.example.org"
TIMEOUT = 3
"""Seconds of silence that a proxy allows, instead of 60."""
EDGE = "127.77.0.0/16"
"""Where further proxies are, such as those of Cloudflare."""
HTTPS, HTTP = 4, 5
"""The server's web ports in the tests, counted from P."""


class Certificate(NamedTuple):
    """The PEM files of a certificate for DOMAIN and of its key."""

    certificate: Path
    private_key: Path


def _substituted(name: str, changes: Mapping[str, object]) -> str:
    """A file of docs/proxies with whole words replaced; each must be there."""
    text = (FOLDER / name).read_text("utf-8")
    found: set[str] = set()

    def change(match: re.Match[str]) -> str:
        found.add(match[0])
        return str(changes[match[0]])

    words = "|".join(re.escape(word) for word in sorted(changes, key=len, reverse=True))
    changed = re.sub(rf"(?<!\w)(?:{words})(?!\w)", change, text)
    assert found == set(changes), f"{name} lacks {set(changes) - found}"
    return changed


def _pair(pair: Certificate) -> dict[str, object]:
    folder = f"/etc/letsencrypt/live/{DOMAIN}"
    return {f"{folder}/fullchain.pem": pair.certificate, f"{folder}/privkey.pem": pair.private_key}


def _web(front: int, pair: Certificate) -> dict[str, object]:
    return {"443": front + HTTPS, "80": front + HTTP, **_pair(pair)}


def _two_ports(port: int, api: int) -> dict[str, object]:
    return {"21118": port + 2, "21119": port + 3, "21114": api}


def nginx(front: int, port: int, api: int, pair: Certificate, header: str = "X-Forwarded-For") -> str:
    """For a server at P = `port` and an API server, on the web ports that follow from `front`.

    Clients are named in `header`, and nothing else that names clients is passed on.
    """
    text = _substituted("nginx.conf", _web(front, pair) | _two_ports(port, api) | {"60s": f"{TIMEOUT}s"})
    if header == "X-Real-IP":
        named = "X-Forwarded-For   $proxy_add_x_forwarded_for;"
        assert named in text
        text = text.replace(named, 'X-Forwarded-For ""; proxy_set_header X-Real-IP $remote_addr;')
    return text


def nginx_one_port(front: int, port: int, pair: Certificate) -> str:
    """For the server's port for HTTP."""
    return _substituted("nginx-one-port.conf", _web(front, pair) | {"8080": port + HTTP, "60s": f"{TIMEOUT}s"})


def caddy(front: int, port: int, api: int, pair: Certificate, behind: str = "") -> str:
    """See nginx; nothing is silent for too long for Caddy. `behind` is a network of further proxies."""
    text = _substituted("Caddyfile", _web(front, pair) | _two_ports(port, api))
    return re.sub(r"(reverse_proxy .+)", rf"\1 {{\n\ttrusted_proxies {behind}\n}}", text) if behind else text


def caddy_one_port(front: int, port: int, pair: Certificate) -> str:
    """See nginx_one_port."""
    return _substituted("Caddyfile-one-port", _web(front, pair) | {"8080": port + HTTP})


def haproxy(front: int, port: int, version: str = "v2") -> str:
    """For all ports of the server, with a version of PROXY protocol. The process stays who and where it is."""
    ports = {str(21116 + number): front + number for number in range(-1, 4)}
    ports |= {str(22116 + number): port + number for number in range(-1, 4)}
    ports |= {"443": front + HTTPS, "80": front + HTTP, "22443": port + HTTPS, "22080": port + HTTP}
    times = {"60s": f"{TIMEOUT}s"}
    spoken = {"send-proxy-v2": "send-proxy" if version == "v1" else "send-proxy-v2"}
    rights = {"user haproxy": "# user", "group haproxy": "# group", "chroot /var/lib/haproxy": "# chroot"}
    return _substituted("haproxy.cfg", {**ports, **times, **spoken, **rights})
