"""Cluster DNS in a thread: names of services to addresses (RFC 1035). Ray's gRPC asks more of it than /etc/hosts."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Mapping

DOMAIN = "lvray.svc.cluster.local"
RESOLV = f"search {DOMAIN} svc.cluster.local cluster.local\noptions ndots:5\n"
PORT, TTL = 53, 5
A, INTERNET = 1, 1
ANSWER, NO_SUCH_NAME = 0x8580, 0x8583


def serve(address: str, names: Mapping[str, str]) -> None:
    """Answer at that address from now on. names: without DOMAIN; read at each question."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((address, PORT))
    threading.Thread(target=_loop, args=(server, names), daemon=True, name="dns").start()


def _loop(server: socket.socket, names: Mapping[str, str]) -> None:
    while True:
        question, whom = server.recvfrom(512)
        server.sendto(answer(question, names), whom)


def answer(question: bytes, names: Mapping[str, str]) -> bytes:
    """To a message of one question."""
    labels, at = [], 12
    while length := question[at]:
        labels.append(question[at + 1:at + 1 + length].decode())
        at += 1 + length
    kind, _ = struct.unpack("!HH", question[at + 1:at + 5])
    asked = question[12:at + 5]
    name, _, domain = ".".join(labels).lower().partition(".")
    found = names.get(name) if domain == DOMAIN else None
    flags = NO_SUCH_NAME if found is None else ANSWER
    records = b""
    if found is not None and kind == A:
        records = struct.pack("!HHHIH4s", 0xC00C, A, INTERNET, TTL, 4, socket.inet_aton(found))
    return question[:2] + struct.pack("!HHHHH", flags, 1, bool(records), 0, 0) + asked + records
