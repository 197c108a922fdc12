"""The direction of imports, and that every message has a place."""

import ast
import inspect
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from rendezvous.hbbs.dispatch import IGNORED, Table, tables
from rendezvous.hbbs.request import Transport
from rendezvous.wire.messages import KINDS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "rendezvous"
NOT_IN_WIRE = ("twisted", "socket", "time", "asyncio", "selectors", "ssl", "threading", "datetime")


def imported(source: str, module: str) -> Iterator[str]:
    """Every module that the `source` of `module` imports, anywhere in it, by its full name.

    What is imported from a package is told as a module as well, since it may be one.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = module.split(".")[: -node.level] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            yield name
            yield from (f"{name}.{alias.name}" for alias in node.names)


def name_of(path: Path) -> str:
    """The full name of the module in a file, that of a package with ``.__init__``."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def within(name: str, *packages: str) -> bool:
    """Whether the module `name` is one of `packages` or inside one."""
    return any(name == package or name.startswith(package + ".") for package in packages)


IMPORTS = {name_of(path): set(imported(path.read_text("utf-8"), name_of(path))) for path in PACKAGE.rglob("*.py")}


def arrows(importer: str, *forbidden: str) -> list[tuple[str, str]]:
    """The imports of `forbidden` modules in the package or module `importer`."""
    assert any(within(module, importer) for module in IMPORTS)
    return [
        (module, name)
        for module, names in sorted(IMPORTS.items())
        if within(module, importer)
        for name in sorted(names)
        if within(name, *forbidden)
    ]


def test_imports_are_found() -> None:
    """Imports are found in every form and depth, and relative ones are resolved."""
    source = "import a.b, c\nfrom d import e as f\ndef g():\n    from . import h\n    from ..i import j\n"
    names = set(imported(source, "rendezvous.hbbs.module"))
    assert names >= {"a.b", "c", "d", "d.e", "rendezvous.hbbs.h", "rendezvous.i", "rendezvous.i.j"}
    assert "rendezvous.config" in IMPORTS["rendezvous.tap"]


def test_wire_stands_alone() -> None:
    """The wire code imports nothing of ours, no Twisted, no sockets, no clock."""
    for module, names in IMPORTS.items():
        if within(module, "rendezvous.wire"):
            assert [
                name for name in names if within(name, "rendezvous") and not within(name, "rendezvous.wire")
            ] == []
    assert arrows("rendezvous.wire", *NOT_IN_WIRE) == []


@pytest.mark.parametrize(
    ("importer", "forbidden"),
    [
        ("rendezvous.peers", ["rendezvous.hbbs", "rendezvous.hbbr", "rendezvous.web", "rendezvous.exposition"]),
        ("rendezvous.hbbs", ["rendezvous.hbbr", "rendezvous.web", "rendezvous.exposition"]),
        ("rendezvous.hbbr", ["rendezvous.hbbs", "rendezvous.web", "rendezvous.exposition"]),
        ("rendezvous.web", ["rendezvous.hbbs", "rendezvous.hbbr", "rendezvous.peers", "rendezvous.exposition"]),
        ("rendezvous", ["rendezvous.tap"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_arrows(importer: str, forbidden: list[str]) -> None:
    """Peers know no server, the servers not each other, and nobody the one place where all is wired.

    Nobody but what makes a service of it for other applications.
    """
    found = arrows(importer, *forbidden)
    assert [module for module, _ in found if module != "rendezvous.embedding"] == []


def test_plugin_loads_nothing_else() -> None:
    """The plugin only names what twistd loads when it is asked for."""
    source = (ROOT / "twisted" / "plugins" / "rendezvous_plugin.py").read_text("utf-8")
    assert not [name for name in imported(source, "rendezvous_plugin") if within(name, "rendezvous")]
    for folder in ("twisted", "twisted/plugins"):
        assert not (ROOT / folder / "__init__.py").exists()


# Messages ----------------------------------------------------------------------------------------


def dispatch_tables() -> Mapping[Transport, Table]:
    """The tables, of objects that have their methods and nothing else."""
    types = typing.get_type_hints(tables)
    parts = {name: types[name] for name in inspect.signature(tables).parameters}
    return tables(**{name: kind.__new__(kind) for name, kind in parts.items()})


TABLES = dispatch_tables()


@pytest.mark.parametrize("kind", KINDS)
def test_every_message_has_a_place(kind: str) -> None:
    """Each variant of the schema is spoken on some transport or explicitly ignored, and never both."""
    spoken = [transport for transport, table in TABLES.items() if kind in table]
    assert bool(spoken) != (kind in IGNORED)


def test_no_other_messages_have_a_place() -> None:
    """Tables and the list of what is ignored name variants of the schema only."""
    assert set(KINDS) >= IGNORED
    assert set(TABLES) == set(Transport)
    for table in TABLES.values():
        assert set(KINDS) >= set(table)
        assert table


@pytest.mark.parametrize(
    ("transport", "kinds"),
    [
        (
            Transport.UDP,
            "register_peer register_pk punch_hole_sent test_nat_request configure_update software_update",
        ),
        (Transport.NAT_PORT, "test_nat_request online_request"),
        (
            Transport.TCP,
            "register_pk punch_hole_request punch_hole_sent local_addr request_relay relay_response "
            "test_nat_request online_request key_exchange hc http_proxy_request",
        ),
        (
            Transport.WEBSOCKET,
            "register_pk punch_hole_request punch_hole_sent local_addr request_relay relay_response "
            "test_nat_request online_request",
        ),
    ],
)
def test_what_clients_send_is_spoken(transport: Transport, kinds: str) -> None:
    """Everything that today's clients send over a transport is answered there."""
    assert set(TABLES[transport]) >= set(kinds.split())


def test_key_exchange_is_for_tcp_alone() -> None:
    """Secured TCP is spoken on port P, never on P-1, WebSocket or UDP."""
    assert [transport for transport, table in TABLES.items() if "key_exchange" in table] == [Transport.TCP]
