"""The server's key pair: made, loaded, and refused without touching what is there."""

import base64
import os
import stat
import time
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from rendezvous.config import load as load_settings
from rendezvous.config_values import ConfigError
from rendezvous.identity import (
    Identity,
    encode_public,
    file_name_safe,
    generate,
    load,
    load_identity,
    load_or_generate,
)
from rendezvous.setting import Server
from rendezvous.start_report import StartReport

PAIR = SigningKey(bytes(range(32)))
PUBLIC = base64.b64encode(bytes(PAIR.verify_key)).decode()
SECRET = base64.b64encode(bytes(PAIR) + bytes(PAIR.verify_key)).decode()
OTHER_PUBLIC = base64.b64encode(bytes(SigningKey(bytes(32)).verify_key)).decode()


def write(folder: Path, secret: str | bytes | None, public: str | bytes | None) -> None:
    """Puts key files into `folder`."""
    for name, content in (("id_ed25519", secret), ("id_ed25519.pub", public)):
        if content is not None:
            (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def files(folder: Path) -> dict[str, tuple[int, int, bytes | None]]:
    """Everything in `folder`: mode, time of change and content."""
    found = {}
    for path in folder.iterdir():
        status = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(status.st_mode) else None
        found[path.name] = (status.st_mode, status.st_mtime_ns, content)
    return found


def assert_refused(folder: Path, key: str, *named: str) -> None:
    """`key` is refused with one sentence about the key that names everything asked for; nothing is changed."""
    before = files(folder)
    with pytest.raises(ConfigError) as raised:
        load_identity(key, folder, signs=True)
    said = str(raised.value)
    assert said.startswith("key: ")
    assert "\n" not in said
    assert SECRET[:20] not in said
    for name in named:
        assert name in said
    assert files(folder) == before


# Forms of -k -------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["-", "_"])
def test_pair_in_the_folder(key: str, tmp_path: Path) -> None:
    """With - and _ the pair in the folder is used, and clients must send its public key."""
    write(tmp_path, SECRET, PUBLIC)
    before = files(tmp_path)
    identity = load_identity(key, tmp_path, signs=True)
    assert identity.signing_key == PAIR
    assert identity.licence_key == identity.public_key == PUBLIC
    assert files(tmp_path) == before


@pytest.mark.parametrize("key", ["-", "_", ""])
def test_pair_is_made(key: str, tmp_path: Path) -> None:
    """Where there is none, a pair is made, and found again the next time."""
    identity = load_identity(key, tmp_path, signs=True)
    assert sorted(files(tmp_path)) == ["id_ed25519", "id_ed25519.pub"]
    made = files(tmp_path)
    assert load_identity(key, tmp_path, signs=True) == identity
    assert files(tmp_path) == made


def test_empty_key(tmp_path: Path) -> None:
    """An empty key asks clients for none; the pair in the folder signs all the same."""
    write(tmp_path, SECRET, PUBLIC)
    identity = load_identity("", tmp_path, signs=True)
    assert (identity.signing_key, identity.licence_key, identity.public_key) == (PAIR, "", PUBLIC)


def test_secret_key(tmp_path: Path) -> None:
    """A secret key signs, and clients must send its public half, whatever is in the folder."""
    write(tmp_path, None, OTHER_PUBLIC)
    before = files(tmp_path)
    identity = load_identity(SECRET, tmp_path, signs=True)
    assert (identity.signing_key, identity.licence_key, identity.public_key) == (PAIR, PUBLIC, PUBLIC)
    assert files(tmp_path) == before


@pytest.mark.parametrize("key", ["text", "--", PUBLIC, SECRET[:-4], f"{SECRET[:-1]}!", "k\u00e9y"])
def test_any_other_text(key: str, tmp_path: Path) -> None:
    """Any other text is what clients must send, exactly; nothing is signed."""
    identity = load_identity(key, tmp_path, signs=True)
    assert identity == Identity(None, key)
    assert identity.public_key == key


def test_damaged_secret_key_is_refused(tmp_path: Path) -> None:
    """A secret key whose halves don't belong together is no key and no text."""
    damaged = base64.b64encode(bytes(PAIR) + bytes(SigningKey(bytes(32)).verify_key)).decode()
    assert_refused(tmp_path, damaged)


@pytest.mark.parametrize(
    ("server", "key", "word"), [("hbbs", "text", "signed"), ("both", "text", "signed"), ("hbbr", "", "Anybody")]
)
def test_warnings(server: Server, key: str, word: str, tmp_path: Path) -> None:
    """A text as the key, and a relay without one, are warned of."""
    settings = load_settings(server, {"key": key}, directory=tmp_path, environ={})
    identity = load_identity(key, tmp_path, signs=server != "hbbr")
    assert any(word in warning for warning in StartReport(settings, identity, None).warnings())


def test_relay_without_a_key(tmp_path: Path) -> None:
    """A relay that asks for no key needs no pair, and makes none."""
    assert load_identity("", tmp_path, signs=False) == Identity(None, "")
    assert files(tmp_path) == {}


def test_fingerprint() -> None:
    """A fingerprint is short, always the same for a key and another one for another key."""
    first, second = Identity(PAIR, PUBLIC).fingerprint, Identity(None, OTHER_PUBLIC).fingerprint
    assert first == Identity(PAIR, "").fingerprint
    assert first != second
    assert 8 <= len(first) < 30


# Making ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_files_that_are_made(mask: int, tmp_path: Path) -> None:
    """The secret is for its owner only whatever the umask; each file holds base64 of the right half."""
    before = os.umask(mask)
    try:
        pair = generate(tmp_path)
    finally:
        os.umask(before)
    secret, public = tmp_path / "id_ed25519", tmp_path / "id_ed25519.pub"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert base64.b64decode(public.read_bytes(), validate=True) == bytes(pair.verify_key)
    assert base64.b64decode(secret.read_bytes(), validate=True) == bytes(pair) + bytes(pair.verify_key)
    assert sorted(files(tmp_path)) == ["id_ed25519", "id_ed25519.pub"]


def test_public_keys_fit_into_file_names(tmp_path: Path) -> None:
    """A public key that is made has no / and no :, which half of all keys would have."""
    for number in range(30):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert not set("/:") & set(encode_public(generate(folder)))


@pytest.mark.parametrize(("public", "safe"), [("ab+c=", True), ("ab/c=", False), ("a:bc=", False)])
def test_what_fits_into_a_file_name(public: str, safe: bool) -> None:
    """Of the characters of base64, only / does not."""
    assert file_name_safe(public) is safe


def test_generate_replaces_nothing(tmp_path: Path) -> None:
    """Where there is a secret key, even a malformed one, none is made."""
    write(tmp_path, "half", None)
    before = files(tmp_path)
    with pytest.raises(ConfigError, match="id_ed25519"):
        generate(tmp_path)
    assert files(tmp_path) == before


def test_folder_that_can_not_be(tmp_path: Path) -> None:
    """A folder that the system can't even look for is refused in one sentence."""
    with pytest.raises(ConfigError, match="can't be written"):
        load_identity("-", tmp_path / ("x" * 300), signs=True)


def test_folder_that_takes_no_files(tmp_path: Path) -> None:
    """Where no key files can be written, the start is refused instead of going on without keys."""
    with pytest.raises(ConfigError, match=r"^key: .*id_ed25519"):
        load_identity("-", tmp_path / "missing", signs=True)


# Loading -----------------------------------------------------------------------------------------

MALFORMED: dict[str, str | bytes] = {
    "empty": "",
    "blank": " \n",
    "text": "no base64 at all!",
    "short": "c2hvcnQ=",
    "seed-only": base64.b64encode(bytes(PAIR)).decode(),
    "public": PUBLIC,
    "long": base64.b64encode(bytes(65)).decode(),
    "zeros": base64.b64encode(bytes(64)).decode(),
    "halves": base64.b64encode(bytes(PAIR) + bytes(32)).decode(),
    "urlsafe": base64.urlsafe_b64encode(b"\xff" * 64).decode(),
    "binary": bytes(PAIR) + bytes(PAIR.verify_key),
    "inside": SECRET[:40] + "\n!" + SECRET[40:],
}


@pytest.mark.parametrize("key", ["-", ""])
@pytest.mark.parametrize("public", [None, PUBLIC], ids=["alone", "with-public"])
@pytest.mark.parametrize("secret", MALFORMED.values(), ids=list(MALFORMED))
def test_malformed_secret_file(secret: str | bytes, public: str | None, key: str, tmp_path: Path) -> None:
    """A secret file that holds no key pair is refused and left as it is."""
    write(tmp_path, secret, public)
    assert_refused(tmp_path, key, "id_ed25519")


@pytest.mark.parametrize("length", range(len(SECRET)))
def test_half_written_secret_file(length: int, tmp_path: Path) -> None:
    """A secret file that was cut anywhere is refused and left as it is."""
    write(tmp_path, SECRET[:length], PUBLIC)
    assert_refused(tmp_path, "-", "id_ed25519")


@pytest.mark.parametrize("public", ["", PUBLIC[:20], PUBLIC[:-1], OTHER_PUBLIC, SECRET, "!", b"\xff\xfe"])
def test_public_file_of_another_pair(public: str | bytes, tmp_path: Path) -> None:
    """A public file that is cut or belongs elsewhere is refused and left as it is."""
    write(tmp_path, SECRET, public)
    assert_refused(tmp_path, "-", "id_ed25519.pub")


@pytest.mark.parametrize("public", ["", PUBLIC])
@pytest.mark.parametrize("key", ["-", "_", ""])
def test_public_file_without_its_secret(public: str, key: str, tmp_path: Path) -> None:
    """A public file alone is refused: a new pair would lock its clients out."""
    write(tmp_path, None, public)
    assert_refused(tmp_path, key, "id_ed25519.pub")


@pytest.mark.parametrize("name", ["id_ed25519", "id_ed25519.pub"])
def test_folder_instead_of_a_file(name: str, tmp_path: Path) -> None:
    """What can't be read is refused and left as it is."""
    write(tmp_path, SECRET, PUBLIC)
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    assert_refused(tmp_path, "-", name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
@pytest.mark.parametrize("name", ["id_ed25519", "id_ed25519.pub"])
def test_file_without_permission(name: str, tmp_path: Path) -> None:
    """What may not be read is refused and left as it is."""
    write(tmp_path, SECRET, PUBLIC)
    (tmp_path / name).chmod(0)
    with pytest.raises(ConfigError, match=name):
        load_identity("-", tmp_path, signs=True)
    assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0


def test_link_to_nowhere(tmp_path: Path) -> None:
    """A secret behind a dangling link, such as a missing mount, is refused and left as it is."""
    (tmp_path / "id_ed25519").symlink_to(tmp_path / "missing" / "id_ed25519")
    assert_refused(tmp_path, "-", "id_ed25519")


def test_missing_public_file_is_written_again(tmp_path: Path) -> None:
    """The public file follows from the secret one, which stays as it is."""
    write(tmp_path, SECRET, None)
    before = files(tmp_path)
    assert load(tmp_path) == PAIR
    assert (tmp_path / "id_ed25519.pub").read_text("ascii").strip() == PUBLIC
    after = files(tmp_path)
    assert after.pop("id_ed25519.pub")
    assert after == before


# Two servers that start together -----------------------------------------------------------------


def test_relay_waits_for_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay without key files gives an ID server 0.3 s to make them, and takes those."""
    made: list[SigningKey] = []
    waited: list[float] = []

    def hbbs_starts(seconds: float) -> None:
        waited.append(seconds)
        made.append(generate(tmp_path))

    monkeypatch.setattr(time, "sleep", hbbs_starts)
    assert load_or_generate(tmp_path, wait=True) == made[0]
    assert sum(waited) == pytest.approx(0.3)


def test_relay_does_not_wait_without_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the files are, nothing is waited for."""
    monkeypatch.delattr(time, "sleep")
    write(tmp_path, SECRET, PUBLIC)
    assert load_or_generate(tmp_path, wait=True) == PAIR


def test_relay_that_starts_in_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay that finds one of the two files that an ID server is writing takes the pair and disturbs nobody."""
    link = os.link
    found: list[SigningKey] = []

    def linking(source: Path, target: Path) -> None:
        monkeypatch.setattr(os, "link", link)
        link(source, target)
        found.append(load_or_generate(tmp_path))

    monkeypatch.setattr(os, "link", linking)
    assert [load_or_generate(tmp_path)] == found
    assert load(tmp_path) == found[0]
