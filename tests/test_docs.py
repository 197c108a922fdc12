"""The documents: held against the settings, options, commands, reasons and files that they tell of."""

import ast
import getopt
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, cast

import click
import pytest
from twisted.internet.task import Clock
from twisted.python import usage
from twisted.scripts import twistd

from rendezvous.address_lists import AddressList
from rendezvous.admin.api import api
from rendezvous.cli import main
from rendezvous.config import load
from rendezvous.hbbr.bandwidth import BandwidthLimits
from rendezvous.hbbr.console import console as relay_console
from rendezvous.hbbr.pairing import Pairing
from rendezvous.hbbr.relay import Relay, RelayTimes
from rendezvous.hbbr.unfinished import Unfinished
from rendezvous.hbbs.console import HbbsCommands
from rendezvous.hbbs.request import Transport
from rendezvous.metrics import Drops
from rendezvous.setting import Server, Setting
from rendezvous.settings import NO_EFFECT, SETTINGS, settings_of
from rendezvous.tap import HbbrOptions, HbbsOptions, Options

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "rendezvous"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
CONFIGURATION = ROOT / "docs" / "configuration.md"
METRICS = ROOT / "docs" / "metrics.md"
OPERATIONS = ROOT / "docs" / "operations.md"

SERVERS: dict[str, Server] = {"rendezvous": "both", "hbbs": "hbbs", "hbbr": "hbbr"}
"""What the document calls a server -> its name in the code."""
OPTIONS: dict[Server, type[usage.Options]] = {"both": Options, "hbbs": HbbsOptions, "hbbr": HbbrOptions}
OWN_DEFAULTS = ("key", "relay_port")
"""Settings whose default depends on the server or on another setting."""


def name_of(path: Path) -> str:
    """A document's name in the test report."""
    return path.relative_to(ROOT).as_posix()


# configuration.md against the settings --------------------------------------------------------------


class Entry(NamedTuple):
    """What configuration.md tells of one setting: the lines of its list, and the text below."""

    heading: str
    lines: dict[str, str]
    text: str


@cache
def entries() -> tuple[Entry, ...]:
    """Every entry of configuration.md, in its order."""
    found = []
    for part in re.split(r"^### `", CONFIGURATION.read_text("utf-8"), flags=re.MULTILINE)[1:]:
        heading, _, rest = part.partition("`\n")
        listed, _, text = rest.strip().partition("\n\n")
        pairs = [line.removeprefix("* ").partition(": ") for line in listed.splitlines()]
        found.append(Entry(heading, {label: value for label, _, value in pairs}, text.split("\n## ")[0]))
    return tuple(found)


def entry_of(setting: Setting) -> Entry:
    """The one entry of a setting."""
    (entry,) = [entry for entry in entries() if entry.heading == setting.flag_name("both")]
    return entry


def flags_of(entry: Entry) -> dict[Server, list[str]]:
    """The documented flags, by server."""
    documented: dict[Server, list[str]] = {}
    for part in entry.lines["Flags"].split("; "):
        server, flags = re.fullmatch(r"`(\w+)`: (.+)", part, re.ASCII).groups()  # type: ignore[union-attr]
        documented[SERVERS[server]] = re.findall(r"`(-[^`]+)`", flags)
    return documented


def defaults_of(entry: Entry) -> dict[Server, str]:
    """The documented default, by server."""
    match = re.fullmatch(r"(?:`([^`]+)`|empty)(?:; for `hbbr`: (?:`([^`]+)`|empty))?", entry.lines["Default"])
    assert match, entry
    general, of_hbbr = match[1] or "", match[2] or ""
    return {"both": general, "hbbs": general, "hbbr": of_hbbr if ";" in entry.lines["Default"] else general}


def test_each_setting_is_documented_once_and_nothing_else() -> None:
    """The entries are the settings, in their order."""
    assert [entry.heading for entry in entries()] == [setting.flag_name("both") for setting in SETTINGS.values()]


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=lambda setting: setting.name)
def test_entries_are_whole(setting: Setting) -> None:
    """Each entry has the same five lines, then a text; the variable is the setting's name."""
    entry = entry_of(setting)
    assert list(entry.lines) == ["Flags", "Variable", "Allowed", "Default", "Example"]
    assert entry.lines["Variable"] == f"`{setting.name.upper()}`"
    assert len(entry.text) > 20


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=lambda setting: setting.name)
def test_flags(setting: Setting) -> None:
    """Exactly the flags that the options of each server have, long and short."""
    entry = entry_of(setting)
    servers = [server for server in SERVERS.values() if server in setting.servers]
    if not setting.flag:
        names = {server: name for name, server in SERVERS.items()}
        assert entry.lines["Flags"] == "none; used by " + ", ".join(f"`{names[server]}`" for server in servers)
        return
    expected: dict[Server, list[str]] = {}
    for server in servers:
        short = setting.short_name(server)
        expected[server] = [f"--{setting.flag_name(server)}", *([f"-{short}"] if short else [])]
    assert flags_of(entry) == expected


@pytest.mark.parametrize(("server", "options"), OPTIONS.items())
def test_no_option_is_left_out(server: Server, options: type[usage.Options]) -> None:
    """The documented flags are all that a sub-command has, besides --config and Twisted's own."""
    documented = {"--config", "-c", "--help", "--version"}
    for setting in settings_of(server):
        if setting.flag:
            documented.update(flags_of(entry_of(setting))[server])
    longs, shorts = names_of(options())
    assert documented == longs | shorts
    assert "`--config FILE`" in CONFIGURATION.read_text("utf-8")
    assert "`-c FILE`" in CONFIGURATION.read_text("utf-8")


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=lambda setting: setting.name)
def test_defaults(setting: Setting, tmp_path: Path) -> None:
    """The documented default is the one in force when nothing is given, in the code's own spelling."""
    documented = defaults_of(entry_of(setting))
    for server in ("both", "hbbs", "hbbr"):
        if server in setting.servers:
            in_force = getattr(load(server, {}, directory=tmp_path, environ={}), setting.name)
            value = setting.parse(documented[server])
            assert (str(tmp_path / value) if setting.name == "data" else value) == in_force
    if setting.name not in OWN_DEFAULTS:
        assert set(documented.values()) == {setting.default}


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=lambda setting: setting.name)
def test_what_is_allowed(setting: Setting) -> None:
    """What may be given is told in the words of the error message."""
    try:
        setting.parse("://")
        allowed = "any text"
    except ValueError as error:
        allowed = str(error)
    assert entry_of(setting).lines["Allowed"] == allowed


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=lambda setting: setting.name)
def test_examples(setting: Setting) -> None:
    """Each example is a flag, or a variable where there is none, with a value that parses and is no default."""
    entry = entry_of(setting)
    example = entry.lines["Example"].strip("`")
    prefix = f"--{setting.flag_name('both')} " if setting.flag else f"{setting.name.upper()}="
    assert example.startswith(prefix)
    given = example.removeprefix(prefix)
    value = setting.parse(given)
    if setting.name not in NO_EFFECT:
        assert all(not default or value != setting.parse(default) for default in defaults_of(entry).values())
    assert given


def test_ini_example(tmp_path: Path) -> None:
    """The INI file of the document is read without a warning, and each of its lines counts."""
    (text,) = [body for language, body in fenced(CONFIGURATION) if language == "ini"]
    (tmp_path / "rendezvous.ini").write_text(text, "utf-8")
    settings = load("both", {"config": "rendezvous.ini"}, directory=tmp_path, environ={})
    assert settings.warnings == ()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert len(settings.sources) == len(lines) > 0


# Links -------------------------------------------------------------------------------------------


def fenced(document: Path) -> Iterator[tuple[str, str]]:
    """The language and the content of every fenced block."""
    found = re.finditer(r"^ *```(\w*)\n(.*?)^ *```$", document.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return ((match[1], match[2]) for match in found)


def prose(document: Path) -> str:
    """A document without its fenced blocks."""
    return re.sub(r"^ *```.*?^ *```$", "", document.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(document: Path) -> set[str]:
    """The names by which the headings of a document can be linked to."""
    headings = re.findall(r"^#+ (.+)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_relative_links(document: Path) -> None:
    """Each link that is no address leads to a file of the repository, and to a heading in it if it names one."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(document)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (document.parent / name).resolve() if name else document
        assert path.exists(), target
        assert path.is_relative_to(ROOT), target
        if anchor:
            assert anchor in anchors(path), target


@pytest.mark.parametrize("document", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_modules(document: str) -> None:
    """Each module and test that is named is there."""
    named = re.findall(r"`([\w./]+\.(?:py|proto))`", prose(ROOT / document))
    assert named
    for name in named:
        assert any((folder / name).exists() for folder in (ROOT, PACKAGE, PACKAGE / "hbbs", PACKAGE / "hbbr")), name


def test_links_are_found() -> None:
    """There are links to check, and headings turn into anchors as they do on the web."""
    assert "](operations.md#behind-proxies)" in CONFIGURATION.read_text("utf-8")
    assert "behind-proxies" in anchors(OPERATIONS)
    assert "where-a-setting-comes-from" in anchors(CONFIGURATION)


# Commands ----------------------------------------------------------------------------------------


def names_of(options: usage.Options) -> tuple[set[str], set[str]]:
    """The long and the short options of a Twisted command, with their dashes."""
    parsed = cast(Any, options)
    longs = {f"--{name.rstrip('=')}" for name in parsed.longOpt}
    return longs, {f"-{letter}" for letter in parsed.shortOpt.replace(":", "")}


def commands(document: Path) -> Iterator[list[str]]:
    """The words of every command of ours in the fenced blocks of a document, without what runs it."""
    for language, body in fenced(document):
        if language not in ("sh", "console", ""):
            continue
        for line in body.replace("\\\n", " ").splitlines():
            for words in simple_commands(line.removeprefix("$ ")):
                while words and (words[0] in ("sudo", "exec") or re.match(r"[A-Z_]+=", words[0])):
                    words = words[1:]
                if words and re.fullmatch(r"(.*/)?(twistd|twist|rendezvous)", words[0]):
                    yield words
                elif words[1:3] == ["-m", "twisted"]:
                    yield ["twist", *words[3:]]


def simple_commands(line: str) -> Iterator[list[str]]:
    """The words of each command in a line of shell, cut at its operators and without comments."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in lexer:
        if re.fullmatch(r"[();<>|&]+", word):
            yield words
            words = []
        else:
            words.append(word)
    yield words


def parse_twisted(options: usage.Options, words: list[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """The options at the beginning of `words`, and the words behind them; abbreviations are not allowed."""
    parsed = cast(Any, options)
    pairs, rest = getopt.getopt(words, parsed.shortOpt, parsed.longOpt)
    for name, _ in pairs:
        if name.startswith("--"):
            assert any(word.partition("=")[0] == name for word in words), f"{name} is abbreviated in {words}"
    return pairs, rest


def check_server_command(words: list[str]) -> None:
    """`words`, behind ``rendezvous``, are options that exist, with values that are allowed."""
    server: Server = "both"
    pairs, rest = parse_twisted(Options(), words)
    if rest:
        server = SERVERS[rest[0]]
        assert not pairs
        pairs, rest = parse_twisted(OPTIONS[server](), rest[1:])
    assert not rest
    by_flag = {f"--{s.flag_name(server)}": s for s in settings_of(server)}
    by_flag |= {f"-{short}": s for s in settings_of(server) if (short := s.short_name(server))}
    for name, value in pairs:
        if name in by_flag and not re.search(r"[A-Z]{3}", value):
            by_flag[name].parse(value)


def check_click_command(words: list[str]) -> None:
    """`words` name a sub-command of ``rendezvous`` and options that it has."""
    command: click.Command = main
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        assert words[0] in command.commands, words
        command, words = command.commands[words[0]], words[1:]
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    for word in words:
        if word.startswith("-"):
            assert word.partition("=")[0] in known, words


def check(words: list[str]) -> None:
    """A command line that would be understood."""
    program = Path(words[0]).name
    if program == "rendezvous":
        check_click_command(words[1:])
        return
    if program == "twist":
        assert words[1] == "rendezvous", words
        check_server_command(words[2:])
        return
    (_, rest) = parse_twisted(cast(Any, twistd).ServerOptions(), words[1:])
    if rest:
        assert rest[0] == "rendezvous", words
        check_server_command(rest[1:])


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_commands(document: Path) -> None:
    """Each command of ours in a fenced block uses only options and sub-commands that exist."""
    for words in commands(document):
        check(words)


@pytest.mark.parametrize("document", ["docs/configuration.md", "docs/moving.md", "docs/operations.md"])
def test_commands_are_found(document: str) -> None:
    """These documents have commands to check."""
    assert len(list(commands(ROOT / document))) > 2


@pytest.mark.parametrize(
    "command",
    [
        "twistd -n rendezvous --nonsense 1",
        "twistd --nonsense rendezvous",
        "twistd -n rendezvous --relay-server a.example",
        "twistd -n rendezvous -p 70000",
        "twistd -n rendezvous hbbr --mask 10.0.0.0/8",
        "twistd -n rendezvous -p 22000 hbbs",
        "twistd -n rendezvous nonsense",
        "rendezvous nonsense",
        "rendezvous keys show --nonsense",
    ],
)
def test_wrong_commands_are_noticed(command: str) -> None:
    """What the documents must not have is told from what they may have."""
    with pytest.raises((AssertionError, getopt.GetoptError, ValueError, KeyError)):
        check(shlex.split(command))


# operations.md against drop reasons and console commands ----------------------------------------------


def reasons_in_the_code() -> set[str]:
    """Every word of the package that something is counted under."""
    found: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            last = node.args[-1]
            if called in ("Refused", "drop", "refuse", "_refuse", "count", "callLater") and isinstance(
                last, ast.Constant
            ):
                found.add(str(last.value))
    return {reason for reason in found if re.fullmatch("[a-z]+(_[a-z]+)*", reason)}


def table_below(heading: str) -> list[list[str]]:
    """The cells of the table rows in a section of operations.md, without the head."""
    text = OPERATIONS.read_text("utf-8")
    section = text.partition(f"\n{heading}\n")[2]
    section = re.split(r"^#{1,3} ", section, flags=re.MULTILINE)[0]
    rows = [line.strip("|").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def test_drop_reasons() -> None:
    """Every reason that the code counts is explained once, and no other."""
    documented = [reason for row in table_below("### Drop reasons") for reason in re.findall(r"`(\w+)`", row[0])]
    assert len(documented) == len(set(documented))
    assert set(documented) == reasons_in_the_code()


def ends_in_the_code() -> set[str]:
    """Every reason that a relay session ends with."""
    return {
        constant.value
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "end" and node.args
        for constant in ast.walk(node.args[0])
        if isinstance(constant, ast.Constant) and isinstance(constant.value, str)
    }


def test_ends_of_sessions() -> None:
    """The metric that counts sessions by the reason of their end is documented with every reason."""
    (row,) = [
        line for line in METRICS.read_text("utf-8").splitlines() if "`rendezvous_relay_sessions_ended_" in line
    ]
    found = ends_in_the_code()
    assert {"closed", "finished", "idle"} < found
    assert set(re.findall("`([a-z ]+)`", row.rpartition("|")[0].rpartition(" | ")[2])) == found


def test_drop_places() -> None:
    """Every place that drops are counted at is explained."""
    documented = {row[0].strip("`") for row in table_below("### Drop places")}
    assert documented == {transport.value for transport in Transport} | {
        *("relay", "registration", "web", "control", "status")
    }


def test_api() -> None:
    """Every route of the administrators' API is documented, with a command that exists."""
    nothing: Any = None
    routes = {
        f"{method} {rule.rule.removeprefix('/api/v1/')}"
        for rule in api(nothing, nothing).url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    rows = table_below("### The API")
    assert sorted(row[0].strip("`") for row in rows) == sorted(routes)
    for row in rows:
        for command in re.findall(r"`([a-z ]+)`", row[2]):
            check(["rendezvous", *command.split()])


def relay() -> Relay:
    """A relay that nobody uses."""
    return Relay(
        "",
        BandwidthLimits(1, 1, 1, 1, 1),
        Pairing(1, 1),
        Unfinished(1, 1),
        RelayTimes(1, 1, 1),
        AddressList(),
        AddressList(),
        Drops(),
        Clock(),
    )


@pytest.mark.parametrize("heading", ["### Commands of the ID server", "### Commands of the relay"])
def test_console_commands(heading: str) -> None:
    """The console commands are documented as the console's own help lists them, in its order."""
    nothing: Any = None
    of_hbbs = HbbsCommands(nothing, nothing, nothing, nothing, nothing, nothing).console()
    console = of_hbbs if "ID server" in heading else relay_console(relay())
    documented = [row[0].strip("`").replace(r"\|", "|") for row in table_below(heading)]
    assert documented == [line.strip() for line in console.answer("h").splitlines()]
