"""Editing the file of an address list."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from rendezvous.address_lists import add_entry, read_list, remove_entry


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A list with comments."""
    path = tmp_path / "list.txt"
    path.write_text("\ufeff# why\n192.0.2.1 since May\n\n10.0.0.0/8#all\n", "utf-8")
    return path


def test_add(path: Path) -> None:
    """What is there stays, and each entry is there once, in its one spelling."""
    assert add_entry(path, "::ffff:192.0.2.2") == ("192.0.2.2", True)
    assert add_entry(path, "192.0.2.2") == ("192.0.2.2", False)
    assert add_entry(path, "10.1.2.3/8") == ("10.0.0.0/8", False)
    assert path.read_text("utf-8") == "# why\n192.0.2.1 since May\n\n10.0.0.0/8#all\n192.0.2.2\n"
    assert list(read_list(path)) == ["10.0.0.0/8", "192.0.2.1", "192.0.2.2"]


def test_remove(path: Path) -> None:
    """Every line of the entry goes, in whatever spelling; one that is not there is no error."""
    with path.open("a", encoding="utf-8") as file:
        file.write("::ffff:192.0.2.1\nnonsense\n")
    assert remove_entry(path, "192.0.2.1") == ("192.0.2.1", True)
    assert path.read_text("utf-8") == "# why\n\n10.0.0.0/8#all\nnonsense\n"
    before = path.stat().st_mtime_ns
    assert remove_entry(path, "192.0.2.9") == ("192.0.2.9", False)
    assert path.stat().st_mtime_ns == before


def test_new_file(tmp_path: Path) -> None:
    """A list that had no file gets one."""
    assert add_entry(tmp_path / "new.txt", "an-id", ids=True) == ("an-id", True)
    assert (tmp_path / "new.txt").read_text() == "an-id\n"


def test_mode_and_links(path: Path, tmp_path: Path) -> None:
    """Mode and place of the file stay, also behind a symbolic link."""
    path.chmod(0o640)
    link = tmp_path / "link.txt"
    link.symlink_to(path)
    add_entry(link, "192.0.2.7")
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert "192.0.2.7" in path.read_text("utf-8")


@pytest.mark.parametrize("word", ["", " ", "a b", "#", "192.0.2.1#", "192.0.2.1\n", "x", "1.2.3", "10.0.0.0/99"])
def test_not_allowed(path: Path, word: str) -> None:
    """What would not be read again as the entry is refused, and the file stays."""
    before = path.read_bytes()
    for change in (add_entry, remove_entry):
        with pytest.raises(ValueError):
            change(path, word)
    assert path.read_bytes() == before


def test_file_that_cannot_be_replaced(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the new file can't be put in its place, the old one is there and nothing else."""

    def replace(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    before = path.read_bytes()
    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(OSError, match="space"):
        add_entry(path, "192.0.2.7")
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["list.txt"]
