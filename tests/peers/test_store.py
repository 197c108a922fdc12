"""The SQLite store: what it reads and writes, as another program sees it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from zope.interface.verify import verifyObject

from rendezvous.peers.browsing import StoredPeer, opened_beside, read_peers
from rendezvous.peers.store import IPeerStore, PeerRecord, SQLitePeerStore, prepare
from tests.peers.memory_store import MemoryPeerStore
from tests.peers.sqlite import make_rust_database, on_reactor, opened, rows

ADA = PeerRecord("ada-1234", b"machine a", b"key a", "192.0.2.1")
BEN = PeerRecord("ben-1234", b"machine b", b"key b", "2001:db8::2")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database is."""
    return tmp_path / "db_v2.sqlite3"


@pytest_twisted.async_yield_fixture  # type: ignore[untyped-decorator]
async def store(path: Path) -> AsyncIterator[SQLitePeerStore]:
    """A store on a new or, when the test has made one, an existing database."""
    from twisted.internet import reactor

    prepare(path)
    store = SQLitePeerStore(path, reactor)
    yield store
    await store.close()


def test_memory_store_is_a_peer_store() -> None:
    """The double provides the interface."""
    assert verifyObject(IPeerStore, MemoryPeerStore())


@on_reactor
async def test_provides_the_interface(store: SQLitePeerStore) -> None:
    """The store provides IPeerStore."""
    assert verifyObject(IPeerStore, store)


def test_layout_is_the_rust_server_s(path: Path) -> None:
    """A new table has the same columns, types, defaults and keys, and is without rowid."""
    rust = path.with_name("rust.sqlite3")
    make_rust_database(rust)
    prepare(path)
    columns = "select name, lower(type), [notnull], pk from pragma_table_info('peer')"
    assert rows(path, columns) == rows(rust, columns)
    with opened(path) as connection, pytest.raises(sqlite3.OperationalError, match="rowid"):
        connection.execute("select rowid from peer")


def test_indexes_are_the_rust_server_s(path: Path) -> None:
    """A new table has the same indexes, over the same columns, and only that of the id is unique."""
    rust = path.with_name("rust.sqlite3")
    make_rust_database(rust)
    prepare(path)
    indexes = (
        "select l.name, l.[unique], i.name from pragma_index_list('peer') l, pragma_index_info(l.name) i"
        " where l.origin = 'c' order by l.name"
    )
    found = rows(path, indexes)
    assert found == rows(rust, indexes)
    assert [name for name, unique, _ in found if unique] == ["index_peer_id"]


def test_file_is_in_wal_mode(path: Path) -> None:
    """The database is in WAL mode, as the Rust server's."""
    prepare(path)
    assert rows(path, "pragma journal_mode") == [("wal",)]


@on_reactor
async def test_what_is_saved_is_loaded(store: SQLitePeerStore) -> None:
    """Loading gives back what was saved, for those asked for and stored."""
    await store.save([ADA, BEN])
    assert await store.load(["ada-1234", "ben-1234", "nobody"]) == {"ada-1234": ADA, "ben-1234": BEN}
    assert await store.load(["ben-1234"]) == {"ben-1234": BEN}
    assert await store.load([]) == {}


@on_reactor
async def test_saved_rows_are_complete(store: SQLitePeerStore, path: Path) -> None:
    """A row has a random 16-byte guid, a date, blobs, and nothing in the unused columns."""
    await store.save([ADA, BEN])
    found = rows(
        path,
        "select length(guid), typeof(guid), typeof(uuid), typeof(pk), user, status, note,"
        " created_at between datetime('now', '-1 minute') and datetime('now') from peer",
    )
    assert found == [(16, "blob", "blob", "blob", None, None, None, 1)] * 2
    assert rows(path, "select count(distinct guid) from peer") == [(2,)]


@on_reactor
async def test_info_is_spelled_as_by_the_rust_server(store: SQLitePeerStore, path: Path) -> None:
    """IPv4 is stored as ::ffff:1.2.3.4, IPv6 as it is, in JSON."""
    await store.save([ADA, BEN])
    spelled = {id: json.loads(info) for id, info in rows(path, "select id, info from peer")}
    assert spelled == {"ada-1234": {"ip": "::ffff:192.0.2.1"}, "ben-1234": {"ip": "2001:db8::2"}}


@on_reactor
@pytest.mark.parametrize(
    ("ip", "host"),
    [
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("192.0.2.1", "192.0.2.1"),
        ("::FFFF:c000:201", "192.0.2.1"),
        ("2001:DB8:0::5", "2001:db8::5"),
        ("", ""),
    ],
)
async def test_both_spellings_are_read(store: SQLitePeerStore, path: Path, ip: str, host: str) -> None:
    """An address is read in its one spelling, however it was stored."""
    with opened(path) as other:
        other.execute(
            "insert into peer (guid, id, uuid, pk, info) values (x'01', 'theirs', x'02', x'03', ?)",
            (json.dumps({"ip": ip}),),
        )
    assert (await store.load(["theirs"]))["theirs"].host == host


@on_reactor
async def test_changed_registration_keeps_the_row(store: SQLitePeerStore, path: Path) -> None:
    """A new pk and address replace the old ones; guid, date, user, status and note stay."""
    await store.save([ADA])
    with opened(path) as other:
        other.execute("update peer set created_at = '2020-01-01', user = x'05', status = 1, note = 'kept'")
    before = rows(path, "select guid, created_at, user, status, note from peer")
    changed = ADA._replace(pk=b"key 2", host="192.0.2.99")
    await store.save([changed])
    assert (await store.load([ADA.id]))[ADA.id] == changed
    assert rows(path, "select guid, created_at, user, status, note from peer") == before


@on_reactor
async def test_uuid_never_changes(store: SQLitePeerStore) -> None:
    """A record with another uuid leaves the stored one as it was, and the rest of its batch is saved."""
    assert await store.save([ADA]) == ([ADA.id], [])
    assert await store.save([ADA._replace(uuid=b"thief", pk=b"stolen"), BEN]) == ([BEN.id], [ADA.id])
    assert await store.save([ADA]) == ([], [])
    assert await store.load([ADA.id, BEN.id]) == {ADA.id: ADA, BEN.id: BEN}


@on_reactor
async def test_failed_save_writes_nothing(store: SQLitePeerStore) -> None:
    """A batch is written whole or not at all."""
    broken = PeerRecord("broken", None, b"pk", "192.0.2.3")  # type: ignore[arg-type]
    with pytest.raises(sqlite3.Error):
        await store.save([ADA, broken])
    assert await store.load([ADA.id]) == {}


@on_reactor
async def test_saved_is_seen_by_others(store: SQLitePeerStore, path: Path) -> None:
    """When a save has fired, another process sees the row."""
    await store.save([ADA])
    assert rows(path, "select id, uuid, pk from peer") == [ADA[:3]]


@on_reactor
async def test_rows_outlive_the_store(store: SQLitePeerStore, path: Path) -> None:
    """What was saved is there for the next one, and counted by `prepare`."""
    await store.save([ADA, BEN])
    assert prepare(path).peers == 2


@on_reactor
async def test_close_waits_for_what_was_asked_before(path: Path) -> None:
    """Closing finishes the saves that were asked for."""
    from twisted.internet import reactor

    prepare(path)
    store = SQLitePeerStore(path, reactor)
    saved = store.save([ADA])
    await store.close()
    await saved
    assert rows(path, "select id from peer") == [(ADA.id,)]


@on_reactor
async def test_thousands_of_ids_are_one_query(store: SQLitePeerStore) -> None:
    """More ids than SQLite takes parameters are saved and loaded."""
    many = [PeerRecord(f"peer-{i}", b"u", b"p", f"10.0.{i >> 8}.{i & 255}") for i in range(40000)]
    await store.save(many)
    assert await store.load([record.id for record in many]) == {record.id: record for record in many}


@on_reactor
@pytest.mark.parametrize("id", ["", "ä€😀", "a'b\"c", "null", "1", "x" * 100])
async def test_odd_ids_survive(store: SQLitePeerStore, id: str) -> None:
    """Whatever text an id is, it is found again."""
    odd = ADA._replace(id=id)
    await store.save([odd])
    assert await store.load([id]) == {id: odd}


class TestClientSettings:
    """What clients are told, across restarts."""

    @on_reactor
    async def test_highest_serial_is_kept(self, store: SQLitePeerStore, path: Path) -> None:
        """The next start finds the settings with the highest serial that was saved."""
        await store.save_client_settings(5, ["a.example", "b.example"])
        await store.save_client_settings(4, ["old.example"])
        assert prepare(path)[1:3] == (5, ("a.example", "b.example"))
        await store.save_client_settings(6, [])
        assert prepare(path)[1:3] == (6, ())


class TestRename:
    """The id change in the store."""

    @on_reactor
    async def test_frees_the_old_id(self, store: SQLitePeerStore) -> None:
        """The record has the new id, and the old one is unknown."""
        await store.save([ADA])
        assert await store.rename(ADA.id, "ada-new", ADA.uuid) == 1
        assert await store.load([ADA.id, "ada-new"]) == {"ada-new": ADA._replace(id="ada-new")}

    @on_reactor
    async def test_unknown_old_id(self, store: SQLitePeerStore) -> None:
        """Without such a record nothing changes."""
        await store.save([BEN])
        assert await store.rename(ADA.id, "ada-new", ADA.uuid) == 0
        assert await store.load([BEN.id, "ada-new"]) == {BEN.id: BEN}

    @on_reactor
    async def test_wrong_uuid(self, store: SQLitePeerStore) -> None:
        """Another machine's record is not renamed."""
        await store.save([ADA])
        assert await store.rename(ADA.id, "ada-new", BEN.uuid) == 0
        assert await store.load([ADA.id, "ada-new"]) == {ADA.id: ADA}

    @on_reactor
    async def test_new_id_of_another_machine(self, store: SQLitePeerStore) -> None:
        """An id that belongs to another machine is not taken over."""
        await store.save([ADA, BEN])
        assert await store.rename(ADA.id, BEN.id, ADA.uuid) == 0
        assert await store.load([ADA.id, BEN.id]) == {ADA.id: ADA, BEN.id: BEN}

    @on_reactor
    async def test_new_id_of_the_same_machine(self, store: SQLitePeerStore) -> None:
        """A machine gets an id of its own back, with its present key."""
        earlier = PeerRecord("ada-old", ADA.uuid, b"old key", "")
        await store.save([ADA, earlier])
        assert await store.rename(ADA.id, earlier.id, ADA.uuid) == 2
        assert await store.load([ADA.id, earlier.id]) == {earlier.id: ADA._replace(id=earlier.id)}


class TestRowsOfOthers:
    """Rows that another program wrote in its own way."""

    @on_reactor
    async def test_rust_database_is_taken_over(self, path: Path, tmp_path: Path) -> None:
        """A database of the Rust server is read as it is."""
        from twisted.internet import reactor

        make_rust_database(path, ("theirs", b"uuid", b"pk", '{"ip":"::ffff:192.0.2.8"}'))
        assert prepare(path).peers == 1
        store = SQLitePeerStore(path, reactor)
        found = await store.load(["theirs"])
        await store.close()
        assert found == {"theirs": PeerRecord("theirs", b"uuid", b"pk", "192.0.2.8")}

    @on_reactor
    @pytest.mark.parametrize(
        "info",
        [
            "",
            "{",
            "[]",
            "null",
            "7",
            '"ip"',
            "{}",
            '{"ip": null}',
            '{"ip": 5}',
            '{"ip": "nowhere"}',
            '{"ip": [":"]}',
            '{"ip": {":": 1}}',
            pytest.param("[" * 50_000, id="deep"),
            b"\xff\xfe",
            5,
        ],
    )
    async def test_malformed_info_is_an_unknown_address(
        self, store: SQLitePeerStore, path: Path, info: object
    ) -> None:
        """A row whose info can't be read has no address, and does not spoil its batch."""
        await store.save([ADA])
        with opened(path) as other:
            other.execute(
                "insert into peer (guid, id, uuid, pk, info) values (x'01', 'odd', x'02', x'03', ?)", (info,)
            )
        found = await store.load([ADA.id, "odd"])
        assert found == {ADA.id: ADA, "odd": PeerRecord("odd", b"\x02", b"\x03", "")}

    @on_reactor
    @pytest.mark.parametrize("value", ["text", "", "tëxt", 5, 1.5, b""])
    async def test_odd_uuid_and_pk_types(self, store: SQLitePeerStore, path: Path, value: object) -> None:
        """A row whose uuid and pk are no blobs does not spoil its batch; texts count as their bytes."""
        await store.save([ADA])
        with opened(path) as other:
            other.execute(
                "insert into peer (guid, id, uuid, pk, info) values (x'01', 'odd', ?, ?, '{}')", (value, value)
            )
        found = await store.load([ADA.id, "odd"])
        expected = value if isinstance(value, bytes) else str(value).encode()
        assert found == {ADA.id: ADA, "odd": PeerRecord("odd", expected, expected, "")}

    @on_reactor
    @pytest.mark.parametrize("id", [7, b"blob", b"\xff\xfe"])
    async def test_odd_id_types(self, store: SQLitePeerStore, path: Path, id: object) -> None:
        """A row whose id is no text does not spoil a batch, whatever is asked for."""
        await store.save([ADA])
        with opened(path) as other:
            other.execute(
                "insert into peer (guid, id, uuid, pk, info) values (x'01', ?, x'02', x'03', '{}')", (id,)
            )
        found = await store.load([ADA.id, "7", "blob"])
        assert found[ADA.id] == ADA


# Upkeep ------------------------------------------------------------------------------------------


@on_reactor
async def test_delete(store: SQLitePeerStore, path: Path) -> None:
    """Those that there are are deleted and told, with the day they were seen on."""
    await store.save([ADA, BEN])
    await store.note_seen(["ada-1234", "ben-1234"], 7)
    assert list(await store.delete(["ada-1234", "nobody"])) == ["ada-1234"]
    assert await store.load(["ada-1234", "ben-1234"]) == {"ben-1234": BEN}
    assert rows(path, "select id from seen") == [("ben-1234",)]


@on_reactor
async def test_add(store: SQLitePeerStore, path: Path) -> None:
    """Peers are added whole where their ids are free; the others stay as they are."""
    await store.save([ADA])
    new = [StoredPeer(f"peer-{n}", b"u", b"p", "192.0.2.9", "2020-01-02 03:04:05", n or None) for n in range(250)]
    other = StoredPeer("ada-1234", b"other", b"other", "", "2020-01-02 03:04:05", 9)
    assert sorted(await store.add([*new, other])) == sorted(peer.id for peer in new)
    assert await store.load(["ada-1234"]) == {"ada-1234": ADA}
    with opened_beside(path) as connection:
        assert read_peers(connection, [peer.id for peer in new]) == {peer.id: peer for peer in new}
        assert read_peers(connection, ["ada-1234"])["ada-1234"].seen is None


@on_reactor
async def test_note_seen(store: SQLitePeerStore, path: Path) -> None:
    """The day that is noted never goes back, and goes with the peer's new id."""
    await store.save([ADA])
    for day in (7, 9, 8):
        await store.note_seen(["ada-1234"], day)
    assert rows(path, "select * from seen") == [("ada-1234", 9)]
    assert await store.rename("ada-1234", "new-1234", ADA.uuid)
    assert rows(path, "select * from seen") == [("new-1234", 9)]


@on_reactor
@pytest.mark.parametrize("strange", [b"\x01", b"\xff" * 16])
async def test_all_ids_in_slices(store: SQLitePeerStore, path: Path, strange: bytes) -> None:
    """Every id is in one slice, whatever its row's key and its type, and the slices have an end."""
    await store.save([ADA._replace(id=f"peer-{i}") for i in range(2500)])
    with opened(path) as other:
        other.execute("insert into peer (guid, id, uuid, pk, info) values (?, x'c328', 'u', 'p', '')", (strange,))
    ids: list[str] = []
    place, slices = b"", 0
    while True:
        more, place = await store.ids_behind(place)
        if not more:
            break
        slices += 1
        ids += more
    assert slices == 3
    assert len(ids) == 2501
    assert {f"peer-{i}" for i in range(2500)} < set(ids)
