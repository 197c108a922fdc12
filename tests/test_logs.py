"""What of the log is let through, and how it is written."""

from __future__ import annotations

import ast
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import ILogObserver, LogEvent, Logger, formatEvent, globalLogPublisher
from twisted.python import log as old_log
from twisted.python.failure import Failure
from zope.interface import implementer

from rendezvous.config_values import SUBSYSTEMS, log_levels
from rendezvous.log_output import Output, SharedLogFile, as_json, open_output
from rendezvous.logs import gate, logger
from rendezvous.wire.address import Address

PACKAGE = Path(__file__).parents[1] / "rendezvous"
V4, V6 = Address("192.0.2.77", 5000), Address("2001:db8:a:b::c", 5000)


@pytest.fixture
def events() -> Iterator[list[LogEvent]]:
    """What reaches whoever observes; the gate is as before afterwards."""
    seen: list[LogEvent] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        seen.append(event)

    globalLogPublisher.addObserver(observe)
    yield seen
    globalLogPublisher.removeObserver(observe)
    gate.set_levels(log_levels("info"))
    gate.private = False


def said(events: list[LogEvent]) -> list[str]:
    """The texts since the last call."""
    texts = [formatEvent(event) for event in events]
    events.clear()
    return texts


class TestLevels:
    """Each subsystem has a least level, which may change at any time."""

    def say(self) -> None:
        """Something at each level, by some subsystems."""
        for name in ("", "hbbs", "hbbs.punching", "hbbr"):
            for level in ("debug", "info", "warn"):
                getattr(logger(name), level)(f"{name} {level}")

    def test_info_unless_told_otherwise(self, events: list[LogEvent]) -> None:
        """Debug events are left out."""
        self.say()
        texts = said(events)
        assert len(texts) == 8
        assert not [text for text in texts if "debug" in text]

    def test_by_subsystem(self, events: list[LogEvent]) -> None:
        """The closest name counts, and the first word is for all others."""
        gate.set_levels(log_levels("warn,hbbs=info,hbbs.punching=debug"))
        self.say()
        assert said(events) == [
            " warn",
            *("hbbs info", "hbbs warn"),
            *("hbbs.punching debug", "hbbs.punching info", "hbbs.punching warn"),
            "hbbr warn",
        ]
        assert gate.levels == "warn,hbbs=info,hbbs.punching=debug"
        gate.set_levels(log_levels("error"))
        self.say()
        assert said(events) == []

    def test_others_are_left_alone(self, events: list[LogEvent]) -> None:
        """What other loggers of the process say is not for the gate."""
        gate.set_levels(log_levels("error"))
        Logger("somebody.else").debug("theirs")
        assert said(events) == ["theirs"]

    @pytest.mark.parametrize("text", ["loud", "hbbs", "nobody=info", "=info", "info,hbbs=", "hbbs=loud"])
    def test_what_is_not_allowed(self, text: str) -> None:
        """Unknown levels and subsystems are refused, and told."""
        with pytest.raises(ValueError, match=r"levels are debug, .*; subsystems are hbbs, "):
            log_levels(text)

    def test_subsystems(self) -> None:
        """The names that may be given are those that there are."""
        used = {
            node.args[0].value
            for path in PACKAGE.rglob("*.py")
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.Call)
            and getattr(node.func, "id", "") == "logger"
            and node.args
            and isinstance(node.args[0], ast.Constant)
        }
        assert used == set(SUBSYSTEMS)
        assert not [path for path in PACKAGE.rglob("*.py") if " Logger(" in path.read_text("utf-8")]


class TestPrivacy:
    """Addresses and ids are shortened, in the text and in the fields."""

    def test_private(self, events: list[LogEvent]) -> None:
        """Of IPv4 the last octet goes, of IPv6 all behind 48 bits, of an id all but three characters."""
        gate.private = True
        logger().info("{a} and {b}: {id!r} was {old_id}, {n}", a=V4, b=V6, id="123456789", old_id="abcdef", n=5)
        [event] = events
        assert formatEvent(event) == "192.0.2.0/24 and 2001:db8:a::/48: '123...' was abc..., 5"
        told = json.loads(as_json(event))
        assert [told[name] for name in ("a", "b", "id", "old_id", "n")] == [
            *("192.0.2.0/24", "2001:db8:a::/48"),
            *("123...", "abc...", 5),
        ]

    def test_not_private(self, events: list[LogEvent]) -> None:
        """Otherwise they are whole."""
        logger().info("{a} {id}", a=V6, id="123456789")
        assert said(events) == ["[2001:db8:a:b::c]:5000 123456789"]


def written(event: LogEvent) -> dict[str, Any]:
    """An event as it is read from its one line."""
    line = as_json(event)
    assert line.endswith("\n")
    assert line[:-1].isprintable()
    told: dict[str, Any] = json.loads(line)
    return told


class TestJSON:
    """One object on each line."""

    def test_fields(self, events: list[LogEvent]) -> None:
        """Time, level, subsystem and text, and each field as what it is."""
        logger("hbbr").warn("{first} sent {bytes}", first=V4, bytes=5, seconds=0.5, done=True, nothing=None)
        told = written(events[0])
        assert told.pop("time").endswith("+00:00")
        assert told == {
            "level": "warn",
            "subsystem": "hbbr",
            "message": "192.0.2.77:5000 sent 5",
            "first": "192.0.2.77:5000",
            "bytes": 5,
            "seconds": 0.5,
            "done": True,
            "nothing": None,
        }

    def test_nothing_is_told_twice(self, events: list[LogEvent]) -> None:
        """A field that is the whole text is not repeated."""
        logger().info("{line}", line="all of it")
        assert set(written(events[0])) == {"time", "level", "subsystem", "message"}

    @pytest.mark.parametrize("id", ["x\n{}", "\x1b[2J", "\u2028\u202e", '"}', "\ud800", "\x00"])
    def test_words_of_strangers(self, events: list[LogEvent], id: str) -> None:
        """Whatever a field holds, it stays in its field."""
        logger().info("who is {id!r}", id=id)
        assert written(events[0])["id"] == id

    def test_own_fields_are_not_overwritten(self, events: list[LogEvent]) -> None:
        """A field that is called as ours does not take its place."""
        logger().info("x", time=1, subsystem=2, message=3)
        told = written(events[0])
        assert (told["subsystem"], told["message"]) == ("rendezvous", "x")

    def test_exceptions(self, events: list[LogEvent]) -> None:
        """A traceback is a field."""
        try:
            raise ValueError("what happened")
        except ValueError:
            logger().failure("it failed", Failure())
        told = written(events[0])
        assert (told["level"], told["message"]) == ("critical", "it failed")
        assert "ValueError: what happened" in told["traceback"]

    def test_the_older_way_to_log(self, events: list[LogEvent]) -> None:
        """What parts of Twisted still say in the older way is a line as well."""
        old_log.msg("Starting", "something")
        told = written(events[0])
        assert told["message"] == "Starting something"
        assert set(told) == {"time", "level", "subsystem", "message"}


def test_output_heeds_levels(events: list[LogEvent]) -> None:
    """What twistd writes is held to the level, whoever says it."""
    file = io.StringIO()
    output = Output(file, json=True)
    globalLogPublisher.addObserver(output)
    try:
        gate.set_levels(log_levels("warn"))
        Logger("twisted.something").info("noise")
        Logger("twisted.something").warn("trouble")
    finally:
        globalLogPublisher.removeObserver(output)
    assert json.loads(file.getvalue())["message"] == "trouble"


@pytest.mark.parametrize(
    "options",
    [{"syslog": True}, {"logger": "somebody.observer"}, {"logfile": "-", "nodaemon": False}],
    ids=["syslog", "logger", "daemon"],
)
def test_other_outputs_are_twistds(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With syslog or an observer of the administrator's, nothing is opened here."""
    monkeypatch.chdir(tmp_path)
    assert open_output({"logfile": None, "nodaemon": True} | options, "json") is None
    assert list(tmp_path.iterdir()) == []


def test_two_processes_write_to_a_file(tmp_path: Path) -> None:
    """The lines of a process and of the one that takes over from it are all there."""
    old, new = (SharedLogFile.fromFullPath(str(tmp_path / "log")) for _ in range(2))
    for number in range(3):
        old.write(f"old {number}\n")
        new.write(f"new {number}\n")
    for file in (old, new):
        file.close()
    lines = [f"{name} {number}" for number in range(3) for name in ("old", "new")]
    assert (tmp_path / "log").read_text().splitlines() == lines
