"""`rendezvous keys`."""

import json
import os
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from rendezvous.cli import main
from tests.cli.running import files, refused, run


def test_keys_make() -> None:
    """A pair is made, its public key printed, the secret for its owner only."""
    result = run("keys", "make")
    assert result.exit_code == 0
    assert Path("id_ed25519.pub").read_text("ascii").strip() in result.output
    assert Path("id_ed25519").read_text("ascii").strip() not in result.output
    assert stat.S_IMODE(Path("id_ed25519").stat().st_mode) == 0o600


def test_keys_make_in_another_folder() -> None:
    """--data names the folder, which must be there."""
    Path("data").mkdir()
    assert run("keys", "make", "--data", "data").exit_code == 0
    assert sorted(path.name for path in Path("data").iterdir()) == ["id_ed25519", "id_ed25519.pub"]
    missing = run("keys", "make", "--data", "missing")
    assert missing.exit_code != 0
    assert "missing" in missing.output
    assert not Path("missing").exists()


def test_keys_make_replaces_nothing() -> None:
    """Where there is a secret key, or a public one without its secret, none is made."""
    run("keys", "make")
    assert "id_ed25519" in refused("keys", "make")
    Path("id_ed25519").unlink()
    assert "id_ed25519.pub" in refused("keys", "make")


def test_keys_show() -> None:
    """The same key as was made is shown, and nothing is changed."""
    made = run("keys", "make").output
    before = files()
    assert run("keys", "show").output == made
    assert files() == before


def test_keys_as_json() -> None:
    """--json prints an object with the public key, for make and show alike."""
    made = json.loads(run("keys", "make", "--json").output)
    assert made["key"] == Path("id_ed25519.pub").read_text("ascii").strip()
    assert json.loads(run("keys", "show", "--json").output) == made
    assert json.loads(run("keys", "check", "--json").output) == made


@pytest.mark.parametrize("command", ["show", "check"])
def test_keys_that_are_missing(command: str) -> None:
    """Without a key file that is said, and none is made."""
    assert "id_ed25519" in refused("keys", command)


@pytest.mark.parametrize("command", ["show", "check"])
def test_keys_that_are_damaged(command: str) -> None:
    """A secret that is none, or a public key of another pair, is told."""
    run("keys", "make")
    public = Path("id_ed25519.pub").read_text("ascii")
    Path("id_ed25519.pub").write_text(public[::-1], "ascii")
    assert "id_ed25519.pub" in refused("keys", command)
    Path("id_ed25519.pub").write_text(public, "ascii")
    Path("id_ed25519").write_text("c2hvcnQ=", "ascii")
    assert "id_ed25519" in refused("keys", command)


def test_keys_check() -> None:
    """A sound pair passes; a secret that others may read does not."""
    run("keys", "make")
    assert run("keys", "check").exit_code == 0
    for mode in (0o640, 0o604):
        Path("id_ed25519").chmod(mode)
        assert f"{mode:04o}" in refused("keys", "check")


def test_keys_replace() -> None:
    """The new pair is whole and secret, the old one is kept under other names, and what breaks is told before."""
    run("keys", "make")
    old = {name: Path(name).read_text("ascii") for name in ("id_ed25519", "id_ed25519.pub")}
    result = CliRunner().invoke(main, ["keys", "replace"], input="y\n")
    assert result.exit_code == 0
    assert "key mismatch" in result.stderr
    assert Path("id_ed25519.pub").read_text("ascii").strip() in result.stdout
    assert old["id_ed25519.pub"] not in result.stdout
    assert run("keys", "check").exit_code == 0
    kept = {path.name.partition(".before-")[0]: path.read_text("ascii") for path in Path().glob("*.before-*")}
    assert kept == old
    secrets = [path for path in Path().iterdir() if ".pub" not in path.name]
    assert {stat.S_IMODE(path.stat().st_mode) for path in secrets} == {0o600}
    assert len(list(Path().iterdir())) == 4


def test_keys_replace_asks() -> None:
    """Without a yes, and where there is no pair, nothing is changed."""
    assert "id_ed25519" in refused("keys", "replace", "--yes")
    run("keys", "make")
    before = files()
    assert CliRunner().invoke(main, ["keys", "replace"], input="n\n").exit_code == 1
    assert files() == before
    assert json.loads(run("keys", "replace", "--yes", "--json").stdout)["key"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_keys_that_root_replaces() -> None:
    """The new pair belongs to whom the old one did."""
    run("keys", "make")
    os.chown("id_ed25519", 65534, 65534)
    run("keys", "replace", "--yes")
    assert {Path(name).stat().st_uid for name in ("id_ed25519", "id_ed25519.pub")} == {65534}


def test_damaged_keys_are_replaced() -> None:
    """A pair that no server starts with can be replaced as well."""
    run("keys", "make")
    Path("id_ed25519").write_text("damaged", "ascii")
    assert run("keys", "replace", "--yes").exit_code == 0
    assert run("keys", "check").exit_code == 0
