"""What the doctor looks for on this machine: keys, database, rights, space, clock, limits."""

import ctypes
import os
import pwd
import resource
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import rendezvous
from rendezvous.cli.common import counted, in_bytes
from rendezvous.cli.findings import Finding, Patient, note, ok, wrong
from rendezvous.config_values import ConfigError
from rendezvous.descriptors import fit_to_descriptors
from rendezvous.identity import PUBLIC_FILE, SECRET_FILE, Identity, encode_public, load
from rendezvous.peers.browsing import opened, opened_beside

_SPACE = 200 << 20
"""Bytes of free space that a database needs to breathe."""
_DAY = 86400
_EXPIRES_SOON = 14 * _DAY
_KEEP_TIME = "timedatectl set-ntp true"
_TIMEX = 512
"""Bytes, in which there is room for the kernel's struct timex."""
_UNSYNCHRONIZED = 5
"""TIME_ERROR of adjtimex(2)."""
_UDP_BUFFER = 8 << 20
_RMEM_MAX = Path("/proc/sys/net/core/rmem_max")


def keys(patient: Patient) -> Iterator[Finding]:
    """The key files are sound, secret, and those that the server runs with."""
    data, secret = patient.data, patient.data / SECRET_FILE
    if patient.settings.key not in ("", "-", "_") or not (patient.settings.has_hbbs or patient.settings.key):
        return
    if not secret.exists():
        if patient.status is None:
            yield ok("keys", f"There is no {secret} yet; the first start makes it.")
        elif patient.status["fingerprint"]:
            yield wrong("keys", f"The server runs, but its {secret} is gone.", "restore it before a restart")
        return
    if not (data / PUBLIC_FILE).exists():
        yield note("keys", f"There is no {data / PUBLIC_FILE}; the next start writes it again.")
        return
    try:
        pair = load(data)
    except ConfigError as error:
        yield wrong("keys", str(error), "restore both key files from a backup")
        return
    mode = secret.stat().st_mode & 0o777
    fingerprint = Identity(pair, encode_public(pair)).fingerprint
    if mode & 0o077:
        yield wrong("keys", f"{secret} may be read by others (mode {mode:04o}).", f"chmod 600 {secret}")
    elif patient.status is not None and patient.status["fingerprint"] != fingerprint:
        yield wrong(
            "keys",
            f"The server runs with the key {patient.status['fingerprint']}, but the files hold {fingerprint}.",
            "restart the server, or restore the files from a backup",
        )
    else:
        yield ok("keys", f"The key pair is sound: fingerprint {fingerprint}.")


def database(patient: Patient) -> Iterator[Finding]:
    """The database is sound, and the server's own."""
    if not patient.settings.has_hbbs:
        return
    path = patient.settings.database
    if not path.exists() and patient.status is None:
        yield ok("database", f"There is no {path} yet; the first start makes it.")
        return
    try:
        with (opened if patient.status is None else opened_beside)(path) as connection:
            problem = str(connection.execute("pragma quick_check(1)").fetchone()[0])
            peers = connection.execute("select count(*) from peer").fetchone()[0] if problem == "ok" else 0
    except sqlite3.Error as error:
        problem = str(error)
    if problem != "ok":
        yield wrong("database", f"{path} can't be used: {' '.join(problem.split())}.", "rendezvous restore BACKUP")
        return
    yield ok("database", f"{path} is sound: {counted(peers, 'peer')}.")
    yield from _rights(patient, path)


def secrecy(patient: Patient) -> Iterator[Finding]:
    """The databases are for their owner alone: a uuid is the whole proof of an id."""
    if not patient.data.stat().st_mode & 0o011:
        return
    settings = patient.settings
    names = [settings.db_url] * settings.has_hbbs + [settings.usage_db] * bool(settings.usage_db)
    for path in (patient.data / name for name in names):
        files = [file for file in _with_log(path) if file.exists() and file.stat().st_mode & 0o044]
        if files:
            mode = files[0].stat().st_mode & 0o777
            yield wrong(
                "rights",
                f"{files[0]} may be read by others (mode {mode:04o}).",
                f"chmod 600 {' '.join(map(str, files))}",
            )


def _with_log(path: Path) -> list[Path]:
    return [path, *(path.with_name(f"{path.name}-{end}") for end in ("wal", "shm"))]


def _rights(patient: Patient, path: Path) -> Iterator[Finding]:
    """A server that gave up root's rights must own what root made before."""
    if not patient.user:
        return
    for file in (patient.data, *_with_log(path)):
        if file.exists() and file.stat().st_uid != patient.user and not file.stat().st_mode & 0o022:
            user = _name_of(patient.user)
            yield wrong("rights", f"The server's user {user} may not write to {file}.", f"chown {user} {file}")


def _name_of(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def space(patient: Patient) -> Iterator[Finding]:
    """There is room for the database to grow."""
    free = shutil.disk_usage(patient.data).free
    if free < _SPACE:
        yield wrong("space", f"{in_bytes(free)} are free for {patient.data}.", f"df -h {patient.data}")
    else:
        yield ok("space", f"{in_bytes(free)} are free for {patient.data}.")


def clock(patient: Patient) -> Iterator[Finding]:
    """The date is not before what is known to have happened, and something keeps it right."""
    files = (Path(rendezvous.__file__), patient.data, patient.settings.database)
    latest = max(file.stat().st_mtime for file in files if file.exists())
    now = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    if latest > time.time() + _DAY:
        yield wrong("clock", f"It is {now} here, but there are files that are younger.", _KEEP_TIME)
    elif kernel_clock() == _UNSYNCHRONIZED:
        yield note("clock", f"It is {now}, and nothing on this machine keeps that right.", _KEEP_TIME)
    else:
        yield ok("clock", f"It is {now}.")


def kernel_clock() -> int:
    """What adjtimex(2) says of the clock, -1 where it may not be asked."""
    nothing_to_set = ctypes.create_string_buffer(_TIMEX)
    try:
        state: int = ctypes.CDLL(None).adjtimex(nothing_to_set)
    except (AttributeError, OSError):
        return -1
    return state


def limits(patient: Patient) -> Iterator[Finding]:
    """The descriptors that the limits of connections need."""
    settings = patient.settings
    if patient.status is None:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        warnings = fit_to_descriptors(settings, hard).warnings
    else:
        hard = patient.status["max_descriptors"]
        warnings = tuple(patient.status["warnings"])
        if patient.status["descriptors"] > 0.9 * hard:
            used = f"{patient.status['descriptors']} of {hard} are in use."
            yield wrong("open files", used, "raise LimitNOFILE= or ulimit -Hn")
    for warning in warnings:
        yield wrong("settings", warning, "see docs/configuration.md")
    yield ok("open files", f"There may be {hard}.")


def buffers(patient: Patient) -> Iterator[Finding]:
    """The kernel gives the receive buffer that is asked for; root gets it in any case."""
    if not patient.settings.has_hbbs or not (os.geteuid() if patient.user is None else patient.user):
        return
    wanted = patient.settings.rmem or _UDP_BUFFER
    try:
        most = int(_RMEM_MAX.read_text("ascii"))
    except (OSError, ValueError):
        return
    if most >= wanted:
        yield ok("UDP buffer", f"The kernel gives {in_bytes(wanted)}.")
        return
    text = f"The kernel gives {in_bytes(most)} of {in_bytes(wanted)}, so bursts of datagrams may be lost."
    mend = f"sysctl -w net.core.rmem_max={wanted}"
    yield (wrong if patient.settings.rmem else note)("UDP buffer", text, mend)


def certificates(patient: Patient) -> Iterator[Finding]:
    """The certificate is valid for a while."""
    if not patient.settings.certificate:
        return
    from cryptography import x509  # which most servers do without

    path = patient.data / patient.settings.certificate
    try:
        end = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    except OSError as error:
        yield wrong("certificate", f"{path} can't be read: {error.strerror}.", f"ls -lL {path}")
        return
    except ValueError:
        yield wrong("certificate", f"{path} holds no certificate.", "name a PEM file with --certificate")
        return
    left = end.timestamp() - time.time()
    if left < 0:
        yield wrong("certificate", f"{path} has expired: {end:%Y-%m-%d}.", "certbot renew")
    elif left < _EXPIRES_SOON:
        yield note("certificate", f"{path} expires on {end:%Y-%m-%d}.", "certbot renew")
    else:
        yield ok("certificate", f"{path} is valid until {end:%Y-%m-%d}.")
