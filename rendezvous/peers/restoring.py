"""Putting a backup in the place of a database that no server has open."""

import os
import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from rendezvous.peers.browsing import Page, copy_database, opened, read_page


class CantRestore(Exception):
    """One sentence: why the database stays as it is."""


def peers_in(backup: Path) -> int:
    """How many peers a backup holds, which must be sound. Raises CantRestore."""
    total: int | None = None
    try:
        with opened(backup) as connection:
            problem = connection.execute("pragma quick_check(1)").fetchone()[0]
            total, _ = read_page(connection, Page(limit=1))
    except (sqlite3.Error, OSError) as error:
        problem = str(error)
    if problem != "ok" or total is None:
        raise CantRestore(f"{backup} is no sound database of peers: {' '.join(str(problem).split())}.")
    return total


def restore(backup: Path, database: Path, stamp: str) -> list[Path]:
    """Puts a copy of `backup` in the place of `database`; returns the files that are kept of that one.

    They are beside it, with ``.before-`` and `stamp` in their names. Raises CantRestore, OSError and
    sqlite3.Error; the database is then as it was.
    """
    new = database.with_name(f".{database.name}.restored")
    new.unlink(missing_ok=True)
    kept: list[Path] = []
    try:
        with opened(backup) as connection:
            copy_database(connection, new)
        _give_to_owner(new, database if database.exists() else database.parent)
        kept = _keep(database, stamp)
        _remove_log(database)
        os.replace(new, database)
    except BaseException:
        for file in (new, *kept):
            file.unlink(missing_ok=True)
        raise
    return kept


def _keep(database: Path, stamp: str) -> list[Path]:
    """Keeps what there is of `database`: as one file, or with its log where it can't be read any more."""
    if not database.exists():
        return []
    kept = database.with_name(f"{database.name}.before-{stamp}")
    log, kept_log = (file.with_name(f"{file.name}-wal") for file in (database, kept))
    os.link(database, kept)
    files = [kept]
    try:
        if log.exists():
            shutil.copy2(log, kept_log)  # which SQLite may remove when it finds the database damaged
            files.append(kept_log)
        if _has_closed_log(database):
            kept_log.unlink(missing_ok=True)
            return [kept]
    except BaseException:
        for file in files:
            file.unlink()
        raise
    return files


def _has_closed_log(database: Path) -> bool:
    """Writes the log into the database, unless that is damaged. Works only when nobody else has it open."""
    try:
        with closing(sqlite3.connect(database, timeout=1)) as connection:
            connection.execute("pragma journal_mode = delete")
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise CantRestore(f"{database} is in use; stop the server first.") from None
        return False
    except sqlite3.DatabaseError:
        return False
    return True


def _remove_log(database: Path) -> None:
    for end in ("-wal", "-shm"):
        database.with_name(f"{database.name}{end}").unlink(missing_ok=True)


def _give_to_owner(new: Path, like: Path) -> None:
    """The server's user must be able to write to it, also where root restores."""
    state = like.stat()
    with suppress(PermissionError):
        os.chown(new, state.st_uid, state.st_gid)
    if like.is_file():
        shutil.copymode(like, new)
