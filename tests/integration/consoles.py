"""Asking a text console as an administrator does who ends the line."""

from __future__ import annotations

import socket

from tests.client.wire import Address

TIMEOUT = 10.0


def ask_console(address: Address, command: str) -> str:
    """The whole answer to one command, which the newline ends without a wait."""
    with socket.create_connection(address, TIMEOUT) as made:
        made.sendall(f"{command}\n".encode())
        answer = b""
        while data := made.recv(65536):
            answer += data
    return answer.decode()
