"""Wheel and sdist: what they carry, and that a clean environment runs from them."""

import shutil
import signal
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from rendezvous import __version__
from tests.integration.server import ServerProcess, environment, free_port

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
SOURCES = [
    "rendezvous",
    "twisted",
    "tac",
    "proto",
    "systemd",
    "setup.cfg",
    "pyproject.toml",
    "README.md",
    "LICENSE",
]
SDIST = "import sys; from setuptools.build_meta import build_sdist; build_sdist(sys.argv[1])"
MODULES = [
    path.relative_to(ROOT).as_posix()
    for folder in ("rendezvous", "twisted")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in (".py", ".pyi", ".sql", ".html", ".css", ".js") or path.name == "py.typed"
]
SHARED = [
    *("tac/rendezvous.tac", "tac/hbbs.tac", "tac/hbbr.tac", "proto/rendezvous.proto"),
    *("systemd/rendezvous.service", "systemd/rendezvous.socket"),
]


def run(command: Sequence[str | Path], folder: Path) -> str:
    """The output of a command that must succeed."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment(folder, {"PYTHONPATH": "", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def copied(folder: Path) -> Path:
    """A copy of the sources without anything that was made from them."""
    made = shutil.ignore_patterns("__pycache__", "*.pyc", "*.egg-info", "dropin.cache")
    copy = folder / "copy"
    copy.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=made)
        else:
            shutil.copy(ROOT / name, copy / name)
    return copy


def build_wheel(source: Path, folder: Path) -> Path:
    """The wheel of a source folder or sdist."""
    run([sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", folder, source], folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


def build_sdist(source: Path, folder: Path) -> Path:
    """The sdist of a source folder."""
    run([sys.executable, "-c", SDIST, folder], source)
    (sdist,) = folder.glob("*.tar.gz")
    return sdist


def test_modules_and_data_are_looked_for() -> None:
    """What must be packaged includes the kinds of files that are easily forgotten."""
    assert {Path(name).suffix for name in MODULES} == {".py", ".pyi", ".sql", ".typed", ".html", ".css", ".js"}
    assert "twisted/plugins/rendezvous_plugin.py" in MODULES


def test_wheel(tmp_path: Path) -> None:
    """The wheel carries every module, the plugin, schema, type information, tac files and the command."""
    with zipfile.ZipFile(build_wheel(copied(tmp_path), tmp_path)) as wheel:
        names = set(wheel.namelist())
        (scripts,) = [name for name in names if name.endswith(".dist-info/entry_points.txt")]
        (metadata,) = [name for name in names if name.endswith(".dist-info/METADATA")]
        assert "rendezvous = rendezvous.cli:main" in wheel.read(scripts).decode()
        lines = wheel.read(metadata).decode().splitlines()
    assert names >= set(MODULES)
    data = f"rendezvous-{__version__}.data/data/share/rendezvous/"
    assert names >= {data + Path(name).name for name in SHARED}
    assert f"Version: {__version__}" in lines
    assert {"License-Expression: MIT", "License: MIT"} & set(lines)
    assert any(name.endswith("/LICENSE") for name in names)
    assert any(line.startswith("Requires-Python: >=3.11") for line in lines)
    assert not [name for name in names if name.startswith(("tests/", "twisted/__init__"))]


def test_sdist(tmp_path: Path) -> None:
    """The sdist carries the same files, and a wheel made from it is the same."""
    sdist = build_sdist(copied(tmp_path), tmp_path)
    top = f"rendezvous-{__version__}/"
    with tarfile.open(sdist) as archive:
        names = set(archive.getnames())
    assert names >= {
        top + name for name in [*MODULES, *SHARED, "setup.cfg", "pyproject.toml", "README.md", "LICENSE"]
    }
    for name in ("direct", "indirect"):
        (tmp_path / name).mkdir()
    with (
        zipfile.ZipFile(build_wheel(tmp_path / "copy", tmp_path / "direct")) as direct,
        zipfile.ZipFile(build_wheel(sdist, tmp_path / "indirect")) as indirect,
    ):
        assert sorted(direct.namelist()) == sorted(indirect.namelist())


def test_clean_environment(tmp_path: Path) -> None:
    """Installed where nothing else is, the plugin is found, keys are made, and both servers start and stop."""
    wheel = build_wheel(copied(tmp_path), tmp_path)
    run([sys.executable, "-m", "venv", "--without-pip", "venv"], tmp_path)
    programs = tmp_path / "venv" / "bin"
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--python", programs / "python"]
    run([*pip, "install", "--quiet", "--no-compile", wheel], tmp_path)
    run([*pip, "check"], tmp_path)
    folder = tmp_path / "server"
    data = folder / "data"
    data.mkdir(parents=True)

    listed = [line.split() for line in run([programs / "twistd", "--help"], folder).splitlines()]
    assert [words for words in listed if words[:1] == ["rendezvous"]]
    run([programs / "rendezvous", "keys", "make", "--data", "data"], folder)
    made = {path.name: path.read_bytes() for path in data.iterdir()}
    assert sorted(made) == ["id_ed25519", "id_ed25519.pub"]

    twistd = [str(programs / "twistd"), "-n", "--pidfile="]
    tac = tmp_path / "venv" / "share" / "rendezvous" / "rendezvous.tac"
    for command in ([*twistd, "rendezvous"], [*twistd, "-y", str(tac)]):
        port = free_port()
        variables = {"PORT": str(port), "DATA": str(data), "PYTHONPATH": ""}
        server = ServerProcess(folder, command=command, port=port, env=variables)
        try:
            server.start()
            assert made["id_ed25519.pub"].decode().strip() in server.output
            assert str(port) in server.output
            assert server.process is not None
            process = server.process
            server.stop()
            assert process.returncode in (0, -signal.SIGTERM)
        finally:
            server.kill()
    assert {name: (data / name).read_bytes() for name in made} == made
