"""The container of a policy: an ONNX file with the contract in its metadata, sealed by a hash over all that counts.

An ONNX file is one protocol-buffer message, and its metadata are text pairs in field 14 of it. Both ends of the wire
format are a few lines, so that neither the robot nor the export needs the ``onnx`` package for them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

MAX_FILE_BYTES = 1_000_000_000
SEAL = "robolearn.sha256"
"""Metadata key of the hash; it covers the graph and all other metadata."""
_METADATA_FIELD = 14
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


class PolicyFileError(ValueError):
    """A policy file that must not be used. The message names the file or field, what is wrong, and what to do."""


def read_file(path: str | Path) -> bytes:
    """Return a policy file's bytes.

    Raises:
        PolicyFileError: it cannot be read, is empty, or is larger than any policy.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if not 0 < size <= MAX_FILE_BYTES:
            what = "is empty" if size == 0 else f"has {size} bytes, more than any policy"
            raise PolicyFileError(f"{path}: {what}; export it again with: robolearn export RUN")
        return path.read_bytes()
    except OSError as error:
        raise PolicyFileError(f"{path}: cannot be read ({error.strerror})") from error


def split(data: bytes) -> tuple[bytes, dict[str, str]]:
    """Return the model without its metadata, and the metadata.

    Raises:
        PolicyFileError: the bytes are not a protocol-buffer message, or a metadata key occurs twice.
    """
    model, metadata = bytearray(), {}
    for number, start, body, end in _fields(data):
        if number != _METADATA_FIELD:
            model += data[start:end]
            continue
        pair = {key: data[body:end][first:last] for key, _, first, last in _fields(data[body:end])}
        try:
            key, value = (pair.get(i, b"").decode("utf-8") for i in (1, 2))
        except UnicodeDecodeError as error:
            raise PolicyFileError(f"damaged file: metadata is not text ({error})") from error
        if key in metadata:
            raise PolicyFileError(f"damaged file: metadata key {key!r} occurs twice")
        metadata[key] = value
    return bytes(model), metadata


def join(model: bytes, metadata: Mapping[str, str]) -> bytes:
    """Return the file of a model (without metadata) and its metadata; the seal is added."""
    sealed = {**metadata, SEAL: digest(model, metadata)}
    entries = bytearray()
    for key, value in sealed.items():
        pair = _field(1, key.encode()) + _field(2, value.encode())
        entries += _field(_METADATA_FIELD, pair)
    return model + bytes(entries)


def digest(model: bytes, metadata: Mapping[str, str]) -> str:
    """Return the SHA-256 of a model and its metadata, the seal excepted, as hexadecimal digits."""
    total = hashlib.sha256(model)
    for key in sorted(metadata):
        if key != SEAL:
            for part in (key.encode(), metadata[key].encode()):
                total.update(len(part).to_bytes(8, "little") + part)
    return total.hexdigest()


def unseal(data: bytes) -> tuple[bytes, dict[str, str]]:
    """Return model and metadata of a file whose seal fits.

    Raises:
        PolicyFileError: damaged, without a seal, or changed since it was sealed.
    """
    model, metadata = split(data)
    if SEAL not in metadata:
        raise PolicyFileError(f"metadata {SEAL!r} is missing: this ONNX file was not written by robolearn export")
    if digest(model, metadata) != metadata[SEAL]:
        raise PolicyFileError(
            f"metadata {SEAL!r} does not fit the content: the file was edited or damaged; export the policy again"
        )
    return model, metadata


def write_file(path: str | Path, data: bytes) -> None:
    """Write a file so that it appears complete or not at all."""
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _fields(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Yield (number, start, start of the body, end) of each field of a message."""
    place = 0
    while place < len(data):
        tag, body = _varint(data, place)
        kind = tag & 7
        if kind == _LENGTH:
            length, body = _varint(data, body)
            end = body + length
        elif kind == _VARINT:
            _, end = _varint(data, body)
        elif kind in (_FIXED64, _FIXED32):
            end = body + (8 if kind == _FIXED64 else 4)
        else:
            raise PolicyFileError(f"damaged file: not an ONNX model (byte {place})")
        if tag >> 3 == 0 or end > len(data):
            raise PolicyFileError(f"damaged file: cut off or not an ONNX model (byte {place} of {len(data)})")
        yield tag >> 3, place, body, end
        place = end


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """Return the number at ``place`` and the place behind it."""
    value = shift = 0
    while place < len(data) and shift < 64:
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place += 1
        if byte < 0x80:
            return value, place
        shift += 7
    raise PolicyFileError(f"damaged file: cut off or not an ONNX model (byte {place} of {len(data)})")


def _field(number: int, body: bytes) -> bytes:
    """A length-delimited field."""
    return _bytes_of(number << 3 | _LENGTH) + _bytes_of(len(body)) + body


def _bytes_of(value: int) -> bytes:
    out = bytearray()
    while True:
        value, low = value >> 7, value & 0x7F
        out.append(low | (0x80 if value else 0))
        if not value:
            return bytes(out)
