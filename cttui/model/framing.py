"""Frames on a pipe: u32 little-endian length, then msgpack."""

import struct
from typing import Generic, TypeVar

import msgspec

from cttui.model.faults import FaultError
from cttui.model.messages import ToClient, ToProbe

MAX_FRAME = 8 << 20
_LENGTH = struct.Struct("<I")
T = TypeVar("T")


def encode(message: ToProbe | ToClient) -> bytes:
    """One frame. Raises FaultError "frame-too-large" above 8 MiB."""
    body = msgspec.msgpack.encode(message)
    if len(body) > MAX_FRAME:
        raise FaultError(
            "frame-too-large", f"A message of {len(body):,} bytes is over the limit of {MAX_FRAME:,}."
        )
    return _LENGTH.pack(len(body)) + body


class Decoder(Generic[T]):
    """Bytes in, messages out; keeps what is not complete yet."""

    def __init__(self, type_: type[T]) -> None:
        self._decoder: msgspec.msgpack.Decoder[T] = msgspec.msgpack.Decoder(type_)
        self._pending = bytearray()

    @property
    def pending(self) -> bytes:
        """What has come of a message that is not complete yet."""
        return bytes(self._pending)

    def feed(self, data: bytes) -> list[T]:
        """Messages completed by `data`.

        Raises FaultError "bad-frame" for a length over 8 MiB or bytes that are no message: what is on the
        pipe is then not our protocol (a shell's greeting, an ssh banner), and there is no way to resume.
        """
        self._pending += data
        out: list[T] = []
        while len(self._pending) >= 4:
            (n,) = _LENGTH.unpack_from(self._pending)
            if n > MAX_FRAME:
                start = bytes(self._pending[:60])
                raise FaultError(
                    "bad-frame",
                    f"Not a cttui frame: {start!r}.",
                    "Does the other side print something before the probe starts?",
                )
            if len(self._pending) < 4 + n:
                break
            body = bytes(self._pending[4 : 4 + n])
            del self._pending[: 4 + n]
            try:
                out.append(self._decoder.decode(body))
            except (msgspec.DecodeError, msgspec.ValidationError) as e:
                raise FaultError(
                    "bad-frame",
                    f"A frame could not be read: {e}.",
                    "Is the same version of cttui on both sides?",
                ) from e
        return out


def probe_decoder() -> "Decoder[ToProbe]":
    """What a probe reads."""
    return Decoder(ToProbe)  # type: ignore[arg-type]


def client_decoder() -> "Decoder[ToClient]":
    """What a client reads."""
    return Decoder(ToClient)  # type: ignore[arg-type]
