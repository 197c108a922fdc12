"""The relay's console: every command, long and short, and the form of its answer."""

from __future__ import annotations

import re

import pytest

from tests.hbbr.load import Load, flow
from tests.hbbr.relay_fixture import MemoryRelay

RUST_DEFAULTS = {"single": 128.0, "total": 1024.0}


def relay_of_defaults() -> MemoryRelay:
    """A relay with the bandwidths of the Rust server."""
    return MemoryRelay(**RUST_DEFAULTS)


@pytest.mark.parametrize(
    ("names", "answer"),
    [
        (("downgrade-threshold", "dt"), "0.66\n"),
        (("downgrade-start-check", "t"), "1800s\n"),
        (("limit-speed", "ls"), "32Mb/s\n"),
        (("total-bandwidth", "tb"), "1024Mb/s\n"),
        (("single-bandwidth", "sb"), "128Mb/s\n"),
        (("usage", "u"), ""),
        (("blacklist", "b"), ""),
        (("blocklist", "B"), ""),
    ],
)
def test_what_shows_something_shows_it(names: tuple[str, str], answer: str) -> None:
    """Long and short names answer the same, in the Rust server's form."""
    relay = relay_of_defaults()
    assert [relay.type(name) for name in names] == [answer, answer]


@pytest.mark.parametrize("long", [True, False])
@pytest.mark.parametrize(
    ("names", "value", "answer"),
    [
        (("downgrade-threshold", "dt"), "0.5", "0.5\n"),
        (("downgrade-start-check", "t"), "60", "60s\n"),
        (("downgrade-start-check", "t"), "86400", "86400s\n"),
        (("downgrade-start-check", "t"), "2000000", "2000000s\n"),
        (("limit-speed", "ls"), "16", "16Mb/s\n"),
        (("limit-speed", "ls"), "0.5", "0.5Mb/s\n"),
        (("total-bandwidth", "tb"), "2048", "2048Mb/s\n"),
        (("total-bandwidth", "tb"), "1234567", "1234567Mb/s\n"),
        (("single-bandwidth", "sb"), "1024", "1024Mb/s\n"),
    ],
)
def test_what_sets_something_answers_nothing(long: bool, names: tuple[str, str], value: str, answer: str) -> None:
    """A setter is silent, and the value is shown afterwards as it was typed."""
    relay = relay_of_defaults()
    assert relay.type(f"{names[not long]} {value}") == ""
    assert [relay.type(name) for name in names] == [answer, answer]


@pytest.mark.parametrize("name", ["dt", "t", "ls", "tb", "sb"])
@pytest.mark.parametrize("value", ["x", "-1", "nan", "inf", "1e400", "-inf", "0x10", "1,5", "1.2.3"])
def test_a_wrong_value_changes_nothing(name: str, value: str) -> None:
    """A value that makes no sense is not taken, answers nothing, and breaks nothing."""
    relay = relay_of_defaults()
    before = relay.type(name)
    assert relay.type(f"{name} {value}") == ""
    assert relay.type(name) == before


@pytest.mark.parametrize(
    "names",
    [("blacklist-add", "blacklist-remove", "blacklist"), ("ba", "br", "b")],
)
def test_the_blacklist_commands(names: tuple[str, str, str]) -> None:
    """Adding, showing one a line, asking for one, removing one and all."""
    add, remove, show = names
    check_list(add, remove, show)


@pytest.mark.parametrize(
    "names",
    [("blocklist-add", "blocklist-remove", "blocklist"), ("Ba", "Br", "B")],
)
def test_the_blocklist_commands(names: tuple[str, str, str]) -> None:
    """The same for the blocklist, whose short names are capital letters."""
    add, remove, show = names
    check_list(add, remove, show)


def check_list(add: str, remove: str, show: str) -> None:
    """Everything that the three commands of a list do."""
    relay = MemoryRelay()
    assert relay.type(f"{add} 192.0.2.1|::ffff:192.0.2.2|2001:DB8::1") == ""
    assert sorted(relay.type(show).splitlines()) == ["192.0.2.1", "192.0.2.2", "2001:db8::1"]
    assert relay.type(show).endswith("\n")
    assert relay.type(f"{show} 192.0.2.2") == "true\n"
    assert relay.type(f"{show} ::ffff:192.0.2.1") == "true\n"
    assert relay.type(f"{show} 192.0.2.3") == "false\n"
    assert relay.type(f"{remove} ::ffff:192.0.2.1|2001:db8:0::1") == ""
    assert relay.type(show) == "192.0.2.2\n"
    assert relay.type(f"{add} 192.0.2.4") == ""
    assert relay.type(f"{remove} all") == ""
    assert relay.type(show) == ""


def test_the_two_lists_are_two() -> None:
    """What is blacklisted is not blocked, and the other way round."""
    relay = MemoryRelay()
    relay.type("ba 192.0.2.1")
    relay.type("Ba 192.0.2.2")
    assert (relay.type("b"), relay.type("B")) == ("192.0.2.1\n", "192.0.2.2\n")


@pytest.mark.parametrize("line", ["Ba", "Ba x", "br", "B x", "nothing", "", "SB", "bA 192.0.2.1", "usages"])
def test_what_it_does_not_understand_is_answered_with_nothing(line: str) -> None:
    """Unknown commands and wrong arguments are silent."""
    assert MemoryRelay().type(line) == ""


def test_help_names_every_command() -> None:
    """`h` lists every command with its short name."""
    answer = MemoryRelay().type("h")
    for name, short in [
        ("blacklist-add", "ba"),
        ("blacklist-remove", "br"),
        ("blacklist", "b"),
        ("blocklist-add", "Ba"),
        ("blocklist-remove", "Br"),
        ("blocklist", "B"),
        ("downgrade-threshold", "dt"),
        ("downgrade-start-check", "t"),
        ("limit-speed", "ls"),
        ("total-bandwidth", "tb"),
        ("single-bandwidth", "sb"),
        ("usage", "u"),
    ]:
        assert re.search(rf"^{name}\({short}\)", answer, re.MULTILINE), name


def test_usage_has_a_line_for_each_session_the_biggest_first() -> None:
    """Address, age, megabytes, and the peak, average and present kilobits a second."""
    relay = MemoryRelay()
    for number, size in enumerate([1 << 20, 5 << 20, 3 << 20], 1):
        first, _ = relay.joined("tt", uuid=f"u{number}", hosts=(f"192.0.2.{number}", "192.0.2.99"))
        first.send(bytes(size))
    relay.drain()
    relay.advance(10)
    lines = relay.type("u").splitlines()
    form = r"192\.0\.2\.(\d):\d+: (\d+)s (\d+\.\d\d)MB (\d+)kb/s (\d+)kb/s (\d+)kb/s"
    found = [re.fullmatch(form, line) for line in lines]
    assert [match and match.groups() for match in found] == [
        ("2", "10", "5.00", "40960", "4096", "0"),
        ("3", "10", "3.00", "24576", "2458", "0"),
        ("1", "10", "1.00", "8192", "819", "0"),
    ]


def test_usage_shows_an_ipv6_address_in_brackets() -> None:
    """The port can be told from an IPv6 address."""
    relay = MemoryRelay()
    relay.joined("tt", hosts=("2001:db8::1", "2001:db8::2"))
    assert re.match(r"\[2001:db8::1\]:\d+: 0s 0\.00MB 0kb/s 0kb/s 0kb/s\n$", relay.type("usage"))


def test_usage_shows_the_present_rate() -> None:
    """The last number is the rate of the last whole second."""
    relay = MemoryRelay(single=8.0)
    Load(relay, [flow(*relay.joined("tt", window=8 << 20))]).run(10)
    match = re.search(r" (\d+)kb/s (\d+)kb/s (\d+)kb/s$", relay.type("u").rstrip())
    assert match
    for rate in match.groups():
        assert int(rate) == pytest.approx(8 * 1024, rel=0.07)


def test_a_session_that_is_over_is_not_shown() -> None:
    """`usage` is about running sessions."""
    relay = MemoryRelay()
    first, _ = relay.joined("tt")
    first.reset()
    relay.drain()
    assert relay.type("u") == ""


def test_what_comes_before_a_wrong_address_counts() -> None:
    """An address that is added before one that can't be is in force for running sessions too."""
    relay = MemoryRelay()
    relay.joined("tt")
    assert relay.type("Ba 192.0.2.1|nonsense") == ""
    assert relay.relay.sessions == set()
