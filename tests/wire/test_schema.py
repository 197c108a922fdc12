"""The wire schema: names, numbers and types of every message, and that the generated module is up to date."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor import FieldDescriptor

from rendezvous.wire import rendezvous_pb2
from rendezvous.wire.messages import KINDS
from rendezvous.wire.rendezvous_pb2 import RendezvousMessage

ROOT = Path(__file__).parents[2]

VARIANTS = {
    6: ("register_peer", "RegisterPeer"),
    7: ("register_peer_response", "RegisterPeerResponse"),
    8: ("punch_hole_request", "PunchHoleRequest"),
    9: ("punch_hole", "PunchHole"),
    10: ("punch_hole_sent", "PunchHoleSent"),
    11: ("punch_hole_response", "PunchHoleResponse"),
    12: ("fetch_local_addr", "FetchLocalAddr"),
    13: ("local_addr", "LocalAddr"),
    14: ("configure_update", "ConfigUpdate"),
    15: ("register_pk", "RegisterPk"),
    16: ("register_pk_response", "RegisterPkResponse"),
    17: ("software_update", "SoftwareUpdate"),
    18: ("request_relay", "RequestRelay"),
    19: ("relay_response", "RelayResponse"),
    20: ("test_nat_request", "TestNatRequest"),
    21: ("test_nat_response", "TestNatResponse"),
    22: ("peer_discovery", "PeerDiscovery"),
    23: ("online_request", "OnlineRequest"),
    24: ("online_response", "OnlineResponse"),
    25: ("key_exchange", "KeyExchange"),
    26: ("hc", "HealthCheck"),
    27: ("http_proxy_request", "HttpProxyRequest"),
    28: ("http_proxy_response", "HttpProxyResponse"),
}

_PUNCH_HOLE_REQUEST = """1 id string, 2 nat_type NatType, 3 licence_key string, 4 conn_type ConnType,
5 token string, 6 version string, 7 udp_port int32, 8 force_relay bool, 9 upnp_port int32, 10 socket_addr_v6 bytes,
11 switch_code string"""
_PUNCH_HOLE = """1 socket_addr bytes, 2 relay_server string, 3 nat_type NatType, 4 udp_port int32,
5 force_relay bool, 6 upnp_port int32, 7 socket_addr_v6 bytes, 8 control_permissions ControlPermissions,
9 controlled_context ControlledContext"""
_PUNCH_HOLE_SENT = """1 socket_addr bytes, 2 id string, 3 relay_server string, 4 nat_type NatType,
5 version string, 6 upnp_port int32, 7 socket_addr_v6 bytes"""
_PUNCH_HOLE_RESPONSE = """1 socket_addr bytes, 2 pk bytes, 3 failure Failure, 4 relay_server string,
5 nat_type NatType union, 6 is_local bool union, 7 other_failure string, 8 feedback int32, 9 is_udp bool,
10 upnp_port int32, 11 socket_addr_v6 bytes"""
_FETCH_LOCAL_ADDR = """1 socket_addr bytes, 2 relay_server string, 3 socket_addr_v6 bytes,
4 control_permissions ControlPermissions, 5 controlled_context ControlledContext"""
_LOCAL_ADDR = """1 socket_addr bytes, 2 local_addr bytes, 3 relay_server string, 4 id string,
5 version string, 6 socket_addr_v6 bytes"""
_REQUEST_RELAY = """1 id string, 2 uuid string, 3 socket_addr bytes, 4 relay_server string, 5 secure bool,
6 licence_key string, 7 conn_type ConnType, 8 token string, 9 control_permissions ControlPermissions,
10 controlled_context ControlledContext, 11 switch_code string"""
_RELAY_RESPONSE = """1 socket_addr bytes, 2 uuid string, 3 relay_server string, 4 id string union,
5 pk bytes union, 6 refuse_reason string, 7 version string, 9 feedback int32, 10 socket_addr_v6 bytes,
11 upnp_port int32"""
_PEER_DISCOVERY = """1 cmd string, 2 mac string, 3 id string, 4 username string, 5 hostname string,
6 platform string, 7 misc string"""

FIELDS = {
    "RegisterPeer": "1 id string, 2 serial int32",
    "RegisterPeerResponse": "2 request_pk bool",
    "PunchHoleRequest": _PUNCH_HOLE_REQUEST,
    "PunchHole": _PUNCH_HOLE,
    "PunchHoleSent": _PUNCH_HOLE_SENT,
    "PunchHoleResponse": _PUNCH_HOLE_RESPONSE,
    "FetchLocalAddr": _FETCH_LOCAL_ADDR,
    "LocalAddr": _LOCAL_ADDR,
    "ConfigUpdate": "1 serial int32, 2 rendezvous_servers string repeated",
    "RegisterPk": "1 id string, 2 uuid bytes, 3 pk bytes, 4 old_id string, 5 no_register_device bool",
    "RegisterPkResponse": "1 result Result, 2 keep_alive int32",
    "SoftwareUpdate": "1 url string",
    "RequestRelay": _REQUEST_RELAY,
    "RelayResponse": _RELAY_RESPONSE,
    "TestNatRequest": "1 serial int32",
    "TestNatResponse": "1 port int32, 2 cu ConfigUpdate",
    "PeerDiscovery": _PEER_DISCOVERY,
    "OnlineRequest": "1 id string, 2 peers string repeated",
    "OnlineResponse": "1 states bytes",
    "KeyExchange": "1 keys bytes repeated",
    "HealthCheck": "1 token string",
    "HeaderEntry": "1 name string, 2 value string",
    "HttpProxyRequest": "1 method string, 2 path string, 3 headers HeaderEntry repeated, 4 body bytes",
    "HttpProxyResponse": "1 status int32, 2 headers HeaderEntry repeated, 3 body bytes, 4 error string",
    "ControlPermissions": "1 permissions uint64",
    "ControlledContext": "1 conn_audit_ref string",
    "IdPk": "1 id string, 2 pk bytes",
}

ENUMS = {
    "ConnType": "0 DEFAULT_CONN, 1 FILE_TRANSFER, 2 PORT_FORWARD, 3 RDP, 4 VIEW_CAMERA, 5 TERMINAL",
    "NatType": "0 UNKNOWN_NAT, 1 ASYMMETRIC, 2 SYMMETRIC",
    "PunchHoleResponse.Failure": "0 ID_NOT_EXIST, 2 OFFLINE, 3 LICENSE_MISMATCH, 4 LICENSE_OVERUSE",
    "RegisterPkResponse.Result": "0 OK, 2 UUID_MISMATCH, 3 ID_EXISTS, 4 TOO_FREQUENT, 5 INVALID_ID_FORMAT, "
    "6 NOT_SUPPORT, 7 SERVER_ERROR, 8 NOT_DEPLOYED",
    "ControlPermissions.Permission": "0 keyboard, 1 remote_printer, 2 clipboard, 3 file, 4 audio, 5 camera, "
    "6 terminal, 7 tunnel, 8 restart, 9 recording, 10 block_input, 11 remote_modify, 12 privacy_mode",
}

SCALARS = {
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_UINT64: "uint64",
    FieldDescriptor.TYPE_BOOL: "bool",
}


def described(field: FieldDescriptor) -> str:
    """`field` as the table writes it."""
    named = field.message_type or field.enum_type
    words = [str(field.number), field.name, named.name if named else SCALARS[field.type]]
    if field.is_repeated:
        words.append("repeated")
    if field.containing_oneof is not None:
        words.append(field.containing_oneof.name)
    return " ".join(words)


def test_variants() -> None:
    """Every variant has its name, number and message, and there is no other."""
    fields = RendezvousMessage.DESCRIPTOR.oneofs_by_name["union"].fields
    assert {f.number: (f.name, f.message_type and f.message_type.name) for f in fields} == VARIANTS
    assert sorted(KINDS) == sorted(name for name, _ in VARIANTS.values())
    assert len(RendezvousMessage.DESCRIPTOR.fields) == len(VARIANTS)


@pytest.mark.parametrize("name", FIELDS)
def test_fields(name: str) -> None:
    """Every field of a message has its number, name and type, and there is no other."""
    message = rendezvous_pb2.DESCRIPTOR.message_types_by_name[name]
    assert [described(field) for field in message.fields] == FIELDS[name].replace("\n", " ").split(", ")


def test_messages() -> None:
    """There is no message that the table does not name."""
    assert rendezvous_pb2.DESCRIPTOR.package == "hbb"
    assert set(rendezvous_pb2.DESCRIPTOR.message_types_by_name) == {*FIELDS, "RendezvousMessage"}


@pytest.mark.parametrize("name", ENUMS)
def test_enums(name: str) -> None:
    """Every value of an enum has its number and name, and there is no other."""
    message, _, enum = name.rpartition(".")
    within = rendezvous_pb2.DESCRIPTOR.message_types_by_name[message] if message else rendezvous_pb2.DESCRIPTOR
    values = within.enum_types_by_name[enum].values
    assert ", ".join(f"{value.number} {value.name}" for value in values) == ENUMS[name]


@pytest.mark.skipif(not importlib.util.find_spec("grpc_tools"), reason="grpcio-tools is not installed")
def test_generated_module_is_up_to_date(tmp_path: Path) -> None:
    """Generating from the schema gives exactly the committed module and its type stub."""
    command = [sys.executable, "-m", "grpc_tools.protoc", "-Iproto", f"--python_out={tmp_path}"]
    subprocess.run([*command, f"--pyi_out={tmp_path}", "proto/rendezvous.proto"], cwd=ROOT, check=True)
    for name in ("rendezvous_pb2.py", "rendezvous_pb2.pyi"):
        assert (tmp_path / name).read_text("utf-8") == (ROOT / "rendezvous" / "wire" / name).read_text("utf-8")
