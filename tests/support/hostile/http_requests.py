"""HTTP requests that a hostile or broken client sends, made from valid ones."""

import io
import json
import random
import socket
import struct
import zipfile
import zlib

PIECES = (
    b"\r\n",
    b"\r\n\r\n",
    b"%0d%0aX-Injected: 1",
    b"\r\nX-Injected: 1\r\n",
    b"../" * 5,
    b"..%2f",
    b"\0",
    b"%00",
    b"\xff\xfe",
    b"Content-Length: 0\r\n",
    b"Content-Length: 99999999999999999999\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Expect: 100-continue\r\n",
    b'; filename="../../../evil.nii"',
    b"A" * 3000,
    b"{" * 300,
)
_ZEROS = 2**20


def valid(host: str, job_id: str) -> list[bytes]:
    """One request for each kind of route."""
    body = (
        b'--b\r\nContent-Disposition: form-data; name="scan"; filename="a.nii"\r\n\r\nxxxx\r\n'
        b'--b\r\nContent-Disposition: form-data; name="options"\r\n\r\n{"tta": true}\r\n--b--\r\n'
    )
    slab = {"name": "slab", "shape": [1, 8, 8], "datatype": "FP32", "data": [0.0] * 64}
    infer = json.dumps({"inputs": [slab]}).encode()
    own = f"/api/jobs/{job_id}"
    requests = [
        ("DELETE", f"/api/jobs/{'0' * 32}", b"", b""),
        *(
            ("GET", f"{own}/{name}", b"", b"")
            for name in ("events", "mask.nii.gz", "seg.dcm", "overlay.png")
        ),
        *(("GET", path, b"", b"") for path in ("/", "/api/jobs?limit=3", "/metrics", "/healthz")),
        ("POST", "/api/jobs", b"multipart/form-data; boundary=b", body),
        ("POST", "/v2/models/lits/infer", b"application/json", infer),
    ]
    return [
        f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(content)}\r\n".encode()
        + (b"Content-Type: " + kind + b"\r\n" if kind else b"")
        + b"Connection: close\r\n\r\n"
        + content
        for method, path, kind, content in requests
    ]


def mutated(request: bytes, chance: random.Random) -> bytes:
    """A request with one to four places changed."""
    content = bytearray(request)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(content))
        kind = chance.randrange(4)
        if kind == 0:
            content[place : place + chance.randint(1, 8)] = chance.randbytes(chance.randint(0, 8))
        elif kind == 1:
            content[place:place] = chance.choice(PIECES)
        elif kind == 2:
            end = min(len(content), place + chance.randint(1, 60))
            content[place:place] = content[place:end]
        else:
            del content[place : place + chance.randint(1, 40)]
    return bytes(content) or b"\r\n"


def answer_to(host: str, request: bytes, patience_s: float = 60.0) -> bytes:
    """All that the server answers until it closes, or says nothing for so long."""
    name, port = host.split(":")
    answer = b""
    with socket.create_connection((name, int(port)), timeout=60) as connection:
        try:
            connection.sendall(request)
            connection.settimeout(patience_s)
            while more := connection.recv(2**16):
                answer += more
        except (ConnectionResetError, BrokenPipeError, TimeoutError):
            pass  # it was refused before it was all sent, or is waited for in vain to be complete
    return answer


def zip_of_zeros(size_mb: int) -> bytes:
    """An archive whose one entry has a thousand times the archive's size."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    zeros, packed, checksum = bytes(_ZEROS), bytearray(), 0
    for _ in range(size_mb):
        packed += deflate.compress(zeros)
        checksum = zlib.crc32(zeros, checksum)
    packed += deflate.flush()
    name, size = b"1.dcm", size_mb * _ZEROS
    sizes = struct.pack("<LLLHH", checksum, len(packed), size, len(name), 0)
    start = b"PK\3\4" + struct.pack("<HHHHH", 20, 0, 8, 0, 0x21) + sizes + name
    entry = b"PK\1\2" + struct.pack("<HHHHHH", 20, 20, 0, 8, 0, 0x21) + sizes
    entry += struct.pack("<HHHLL", 0, 0, 0, 0, 0) + name
    at = len(start) + len(packed)
    end = b"PK\5\6" + struct.pack("<HHHHLLH", 0, 0, 1, 1, len(entry), at, 0)
    return start + bytes(packed) + entry + end


def zip_of(names: list[str], content: bytes) -> bytes:
    """An archive with entries of these names."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name in names:
            file.writestr(name, content)
    return archive.getvalue()
