"""TensorBoard event files of scalars.

The format is small enough to write by hand. The package tensorboardX would do, but loads torch where it is
installed: three seconds and 200 MB for a few floats.

References:
    The records: tensorflow/core/lib/io/record_writer.h; the messages: tensorflow/core/util/event.proto and
    tensorflow/core/framework/summary.proto; the checksum: RFC 3720, section B.4.
"""

import os
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path

from sketch_jax.files import append, open_to_append

FILE_VERSION = "brain.Event:2"
SESSION_STARTED = 1


def _checksum_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)


CHECKSUM_TABLE = _checksum_table()


def crc32c(data: bytes) -> int:
    """The Castagnoli checksum.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    checksum = 0xFFFFFFFF
    for byte in data:
        checksum = CHECKSUM_TABLE[(checksum ^ byte) & 0xFF] ^ checksum >> 8
    return checksum ^ 0xFFFFFFFF


def encode_record(data: bytes) -> bytes:
    """A record of an event file: length, data, and a masked checksum of each."""
    length = struct.pack("<Q", len(data))
    return length + _masked_checksum(length) + data + _masked_checksum(data)


def _masked_checksum(data: bytes) -> bytes:
    checksum = crc32c(data)
    rotated = (checksum >> 15 | checksum << 17) & 0xFFFFFFFF
    return struct.pack("<I", rotated + 0xA282EAD8 & 0xFFFFFFFF)


def encode_varint(value: int) -> bytes:
    """A whole number, not negative, in groups of seven bits.

    >>> encode_varint(300).hex()
    'ac02'
    """
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def _field(number: int, data: bytes) -> bytes:
    return encode_varint(number << 3 | 2) + encode_varint(len(data)) + data


def encode_event(step: int, content: bytes) -> bytes:
    """An Event message that happens now; its fields 1 and 2 are the wall time and the step."""
    return struct.pack("<Bd", 1 << 3 | 1, time.time()) + bytes([2 << 3]) + encode_varint(step) + content


def encode_scalars(scalars: Mapping[str, float]) -> bytes:
    """The Summary field of an Event: for each scalar its tag and its value as float32."""
    values = (
        _field(1, name.encode()) + struct.pack("<Bf", 2 << 3 | 5, value) for name, value in scalars.items()
    )
    return _field(5, b"".join(_field(1, value) for value in values))


def encode_session_start() -> bytes:
    """The SessionLog field of an Event: readers forget earlier events from its step on."""
    return _field(7, bytes([1 << 3, SESSION_STARTED]))


class EventFile:
    """One new event file in a directory; files written there before belong to the same run."""

    def __init__(self, directory: str | os.PathLike[str], first_step: int):
        """Opens the file.

        Args:
            directory: where TensorBoard is pointed at.
            first_step: what earlier files hold from this step on is void.

        Raises:
            InputError: the file cannot be written.
        """
        # TensorBoard reads the files of a directory in the order of their names.
        name = f"events.out.tfevents.{time.time():017.6f}.{socket.gethostname()}.{os.getpid()}"
        self._file = open_to_append(Path(directory) / name)
        version = encode_event(0, _field(3, FILE_VERSION.encode()))
        self._append(version, encode_event(first_step, encode_session_start()))

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Adds the scalars of a step.

        Raises:
            InputError: the disk is full.
        """
        self._append(encode_event(step, encode_scalars(scalars)))

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _append(self, *events: bytes) -> None:
        append(self._file, b"".join(encode_record(event) for event in events))
