"""`rendezvous client`: what clients are handed, and the QR code read again."""

from __future__ import annotations

import base64
import json
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
import zxingcpp
from click.testing import CliRunner, Result

from rendezvous.cli import main
from rendezvous.client_config import ClientConfig


def run(*arguments: str) -> Result:
    """What ``rendezvous client`` answers in the working directory, where there is a key pair."""
    if not Path("id_ed25519").exists():
        CliRunner().invoke(main, ["keys", "make"])
    return CliRunner().invoke(main, ["client", *arguments])


def told(*arguments: str) -> Any:
    """The same as JSON."""
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def read(rows: list[bytes]) -> str:
    """What a QR code in gray rows says."""
    height, width = len(rows), len(rows[0])
    picture = memoryview(b"".join(rows)).cast("B", (height, width))
    (code,) = zxingcpp.read_barcodes(picture)
    assert code.format == zxingcpp.BarcodeFormat.QRCode
    return str(code.text)


def drawn(blocks: str) -> list[bytes]:
    """The pixels of a QR code that is drawn with block characters, two rows in a line."""
    light = {"\u2588": (1, 1), "\u2580": (1, 0), "\u2584": (0, 1), " ": (0, 0)}
    rows = []
    for line in blocks.splitlines():
        for half in (0, 1):
            row = b"".join((b"\xff" if light[block][half] else b"\0") * 4 for block in line)
            rows += [row] * 4
    return rows


def png(content: bytes) -> list[bytes]:
    """The pixels of a PNG file with one bit for each."""
    width, height, depth, color = struct.unpack(">IIBB", content[16:26])
    assert (depth, color) == (1, 0)
    data, at = b"", 8
    while at < len(content):
        length, kind = struct.unpack(">I4s", content[at : at + 8])
        data += content[at + 8 : at + 8 + length] if kind == b"IDAT" else b""
        at += 12 + length
    lines = zlib.decompress(data)
    size = 1 + (width + 7) // 8
    rows, above = [], bytes(size)
    for start in range(0, height * size, size):
        row = lines[start : start + size]
        assert row[0] in (0, 2)  # as it is, or what is to be added to the row above
        above = bytes((x + y) % 256 for x, y in zip(row, above, strict=True)) if row[0] else row
        above = b"\0" + above[1:]
        rows.append(above)
    return [bytes(255 * (row[1 + x // 8] >> (7 - x % 8) & 1) for x in range(width)) for row in rows]


def svg(content: str) -> list[bytes]:
    """The pixels of an SVG file whose dark dots are horizontal strokes of a path."""
    size, scale = (int(re.findall(pattern, content)[0]) for pattern in (r'width="(\d+)"', r"scale\((\d+)\)"))
    rows = [bytearray(b"\xff" * size) for _ in range(size)]
    x = y = 0.0
    (path,) = re.findall(r' d="([^"]+)"', content)
    for kind, first, second in re.findall(r"([Mmh])(-?[\d.]+)(?:[ ,]?(-?[\d.]+))?", path):
        if kind == "h":
            for row in range(int(y - 0.5) * scale, int(y + 0.5) * scale):
                rows[row][int(x) * scale : (int(x) + int(first)) * scale] = bytes(int(first) * scale)
            x += float(first)
        else:
            x, y = (float(first), float(second)) if kind == "M" else (x + float(first), y + float(second))
    return [bytes(row) for row in rows]


def imported(string: str) -> Any:
    """What a client reads in an import string."""
    text = string[::-1]
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def test_without_a_server() -> None:
    """Strings and QR code are made of the key files and the settings of the working directory."""
    Path(".env").write_text("HOST=rd.example.org\n", "utf-8")
    found = told()
    key = Path("id_ed25519.pub").read_text("ascii").strip()
    config = {"host": "rd.example.org", "relay": "", "api": "", "key": key}
    assert {name: found[name] for name in config} == config
    assert json.loads(found["json"]) == imported(found["import_string"]) == config
    assert found["installer"] == f"rustdesk-host=rd.example.org,key={key},.exe"
    assert told("--host", "192.0.2.7")["host"] == "192.0.2.7"


def test_qr_code_in_the_terminal() -> None:
    """What is printed is read again: the text that phones take, with the settings."""
    output = run("--host", "rd.example.org").output
    strings, _, blocks = output.partition("\u2588")
    text = read(drawn("\u2588" + blocks))
    assert text.startswith("config=")
    config = json.loads(text.removeprefix("config="))
    assert config["host"] == "rd.example.org"
    assert config["key"] in strings
    assert "\u2588" not in run("--no-qr").output


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_qr_code_in_a_picture(kind: str) -> None:
    """A picture is read again as the same."""
    found = told("--host", "rd.example.org", "--image", f"qr.{kind}")
    content = Path(f"qr.{kind}").read_bytes()
    rows = png(content) if kind == "png" else svg(content.decode())
    assert read(rows) == found["qr"]


def test_longest_qr_code() -> None:
    """Long names do too."""
    host = ".".join(["x" * 60] * 4)
    blocks = run("--host", host).output.partition("\u2588")
    assert host in read(drawn(blocks[1] + blocks[2]))


def test_too_long_for_a_qr_code() -> None:
    """What no QR code holds is told in one line, and printed without one."""
    key = "x" * 5000
    Path(".env").write_text(f"KEY={key}\n", "utf-8")
    result = run()
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert key in run("--no-qr").stdout


@pytest.mark.parametrize("host", ["rd.example.org:31116", "a b", "http://x"])
def test_hosts_that_are_not_allowed(host: str) -> None:
    """A host with a port, a scheme or blanks is refused in one sentence, whether it is given or set."""
    for result in (run("--host", host), (Path(".env").write_text(f"HOST={host}", "utf-8"), run())[1]):
        assert (result.exit_code, len(result.output.splitlines())) == (1, 1)
        assert repr(host) in result.output
        assert "a name or an IP address" in result.output


@pytest.mark.parametrize("name", ["qr.gif", "qr", "there.png", "missing/qr.png"])
def test_pictures_that_are_not_made(name: str) -> None:
    """Other kinds, files that are there and folders that are not are told in one line."""
    Path("there.png").write_text("mine")
    result = run("--image", name)
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert Path("there.png").read_text() == "mine"


def test_without_a_key() -> None:
    """Without key files that is said, and none are made."""
    result = CliRunner().invoke(main, ["client"])
    assert (result.exit_code, len(result.output.splitlines())) == (1, 1)
    assert "rendezvous keys make" in result.output
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (ClientConfig("a.example", "k="), "rustdesk-host=a.example,key=k=,.exe"),
        (ClientConfig("a.example", "k", "b.example"), "rustdesk-host=a.example,key=k,relay=b.example,.exe"),
        (ClientConfig("a.example", "", api="c.example"), "rustdesk-host=a.example,api=c.example,.exe"),
    ],
)
def test_installer_name(config: ClientConfig, name: str) -> None:
    """The name of the installer tells the parts, each with a comma behind it."""
    assert config.installer_name() == name


@pytest.mark.parametrize(
    "config",
    [
        ClientConfig("a.example:22116", "k"),
        ClientConfig("2001:db8::1", "k"),
        ClientConfig("a.example", "a/b"),
        ClientConfig("a.example", "k", api="https://c.example"),
        ClientConfig("a.example", "a,b"),
    ],
)
def test_installer_name_without_plain_words(config: ClientConfig) -> None:
    """What can't stand in a file name of Windows is told by the import string, which can."""
    name = config.installer_name()
    assert name == f"rustdesk-licensed-{config.import_string()}.exe"
    assert not set(name) & set('<>:"/\\|?*,')
