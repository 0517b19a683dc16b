"""An SSH agent with one deploy key, for one fetch: the key is in memory only, never in a file.

It answers the two requests that ssh needs (draft-ietf-sshm-ssh-agent): list the keys, and sign.
"""

import asyncio
import os
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from shared.ssh.keys import DeployKey

MAX_MESSAGE_BYTES = 64 * 1024

_FAILURE = b"\x05"
_LIST, _KEYS = b"\x0b", b"\x0c"
_SIGN, _SIGNATURE = b"\x0d", b"\x0e"
_RSA_SHA2: dict[int, tuple[str, hashes.HashAlgorithm]] = {
    2: ("rsa-sha2-256", hashes.SHA256()),
    4: ("rsa-sha2-512", hashes.SHA512()),
}
_BY_CURVE: dict[int, hashes.HashAlgorithm] = {
    256: hashes.SHA256(),
    384: hashes.SHA384(),
    521: hashes.SHA512(),
}


class RequestError(Exception):
    """A request that the agent does not carry out."""


@dataclass
class Agent:
    """The agent; ``listings`` and ``signatures`` count the requests that it answered.

    ssh requests the keys only after it has verified the host's key, and a signature only after the
    server has answered that it accepts the key.
    """

    key: DeployKey
    socket: Path
    listings: int = 0
    signatures: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        try:
            while True:
                size = int.from_bytes(await reader.readexactly(4), "big")
                if not 0 < size <= MAX_MESSAGE_BYTES:
                    return
                answer = self._answer(await reader.readexactly(size))
                writer.write(_string(answer))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # ssh has ended
        finally:
            writer.close()

    def _answer(self, request: bytes) -> bytes:
        try:
            if request[:1] == _LIST:
                self.listings += 1
                return _KEYS + struct.pack(">I", 1) + _string(self.key.blob) + _string(b"")
            if request[:1] == _SIGN:
                return self._sign(request[1:])
        except (RequestError, struct.error):
            pass
        return _FAILURE

    def _sign(self, request: bytes) -> bytes:
        blob, rest = _split(request)
        content, rest = _split(rest)
        (flags,) = struct.unpack(">I", rest)
        if blob != self.key.blob:
            raise RequestError
        signature = _string(_sign(self.key, content, flags))
        self.signatures += 1
        return _SIGNATURE + signature


@asynccontextmanager
async def open_agent(key: DeployKey, folder: Path) -> AsyncIterator[Agent]:
    """Run an agent behind a socket in ``folder``, which only this user may enter."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # The path of a socket has 107 bytes at most (unix(7)): that of the folder may be longer.
        agent = Agent(key, Path(f"/proc/{os.getpid()}/fd/{descriptor}/agent"))
        server = await asyncio.start_unix_server(agent.serve, agent.socket)
        try:
            yield agent
        finally:
            server.close()
            await server.wait_closed()
            await asyncio.to_thread(agent.socket.unlink, missing_ok=True)
    finally:
        os.close(descriptor)


def _sign(key: DeployKey, content: bytes, flags: int) -> bytes:
    """Return the signature with its algorithm (RFC 8709, 5656, 8332); never RSA with SHA-1."""
    match key.private:
        case Ed25519PrivateKey() as private:
            return _string(b"ssh-ed25519") + _string(private.sign(content))
        case EllipticCurvePrivateKey() as private:
            bits = private.curve.key_size
            r, s = decode_dss_signature(private.sign(content, ECDSA(_BY_CURVE[bits])))
            name = f"ecdsa-sha2-nistp{bits}".encode()
            return _string(name) + _string(_integer(r) + _integer(s))
        case RSAPrivateKey() as private if flags in _RSA_SHA2:
            algorithm, digest = _RSA_SHA2[flags]
            signed = private.sign(content, padding.PKCS1v15(), digest)
            return _string(algorithm.encode()) + _string(signed)
    raise RequestError


def _string(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content


def _integer(number: int) -> bytes:
    """Encode a positive number as ``mpint`` (RFC 4251, section 5)."""
    return _string(number.to_bytes(number.bit_length() // 8 + 1, "big"))


def _split(message: bytes) -> tuple[bytes, bytes]:
    """Return the first string of a message, and the rest."""
    (size,) = struct.unpack_from(">I", message)
    if len(message) < 4 + size:
        raise RequestError
    return message[4 : 4 + size], message[4 + size :]
