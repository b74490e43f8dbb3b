"""What a sender of DICOM says, recorded, mutated, and said again."""

import contextlib
import random
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

from support.services.dicom_node import storescu

_ANSWER_S = 0.25
_HEADER = 6
_LENGTHS = (0, 1, 2**16, 2**24, 2**31, 2**32 - 1)


def recorded(port: int, folder: Path) -> list[bytes]:
    """The PDUs that storescu sends with a folder, which the server takes."""
    said = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        relay = threading.Thread(target=_relay, args=(listener, port, said))
        relay.start()
        done = storescu(listener.getsockname()[1], folder)
        relay.join()
    assert done.returncode == 0, done.stderr
    return list(_pdus(bytes(said)))


def _relay(listener: socket.socket, port: int, said: bytearray) -> None:
    sender, _ = listener.accept()
    with sender, socket.create_connection(("127.0.0.1", port)) as server:
        back = threading.Thread(target=_pass_on, args=(server, sender))
        back.start()
        while piece := sender.recv(2**16):
            said += piece
            server.sendall(piece)
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_WR)
        back.join()


def _pass_on(server: socket.socket, sender: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := server.recv(2**16):
            sender.sendall(piece)


def _pdus(content: bytes) -> Iterator[bytes]:
    while content:
        length = _HEADER + int.from_bytes(content[2:6], "big")
        yield content[:length]
        content = content[length:]


def mutated(pdus: list[bytes], chance: random.Random) -> list[bytes]:
    """The same with one to three faults in an early place, or its order changed."""
    made = list(pdus)
    for _ in range(chance.randint(1, 3)):
        place = min(int(chance.expovariate(0.7)), len(made) - 1)
        kind = chance.randrange(7)
        if kind < 4:
            made[place] = _spoilt(made[place], chance, kind)
        elif kind == 4:
            made.insert(place, chance.choice(pdus))
        elif kind == 5 and len(made) > 1:
            del made[place]
        else:
            made[place] = chance.randbytes(chance.randint(1, 200))
    return made


def _spoilt(pdu: bytes, chance: random.Random, kind: int) -> bytes:
    content = bytearray(pdu)
    if kind == 0:  # bytes of the header and the first items
        for _ in range(chance.randint(1, 8)):
            content[chance.randrange(min(len(content), 400))] = chance.randrange(256)
    elif kind == 1:
        content[2:6] = chance.choice(_LENGTHS).to_bytes(4, "big")
    elif kind == 2:
        del content[chance.randrange(len(content)) :]
    else:  # a run taken out or said twice, the length of the PDU right
        begin = chance.randrange(_HEADER, max(_HEADER + 1, min(len(content), 600)))
        run = content[begin : begin + chance.randint(1, 40)]
        content[begin : begin + len(run)] = b"" if chance.random() < 0.5 else run * 2
        content[2:6] = max(0, len(content) - _HEADER).to_bytes(4, "big")
    return bytes(content)


def say(port: int, pdus: list[bytes]) -> None:
    """Say it to a server, as far as that listens, and hang up."""
    with (
        contextlib.suppress(OSError),
        socket.create_connection(("127.0.0.1", port), timeout=_ANSWER_S) as connection,
    ):
        connection.sendall(pdus[0])
        if not connection.recv(2**12):
            return
        for pdu in pdus[1:]:
            connection.sendall(pdu)
        while connection.recv(2**12):
            pass
