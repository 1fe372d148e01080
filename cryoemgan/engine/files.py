"""Files that are complete or not there, and how a file is known again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from .errors import InputError, WorkError
from .shapes import AnyPath, Json

# Larger files are told by samples of their content and the time of their last change: hashing a stack of 100 GB
# would take longer than many runs.
WHOLE = 64 * 2**20
SAMPLES, SAMPLE_BYTES = 256, 2**16
# Entry of a JSON file, and mark at the end of others, by which damage is told.
CHECKSUM, SEAL = 'checksum', b'cryoemgan sha256 '


@contextlib.contextmanager
def atomic(path: AnyPath) -> Iterator[Path]:
    """Yield a path beside ``path``; it takes that name when the block ends well, and is removed when it does not.

    The content is on the disk before the name is, so that a crash of the machine leaves the old file or the new one.
    """
    path = Path(path)
    partial = path.with_name(path.name + '.partial')
    # A pipe or a link of that name would hang, or write elsewhere.
    partial.unlink(missing_ok=True)
    try:
        yield partial
        flush_to_disk(partial)
        os.replace(partial, path)
        flush_to_disk(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def flush_to_disk(path: AnyPath) -> None:
    """Make the content of a file, or the names in a folder, survive a crash of the machine."""
    handle = os.open(path, os.O_RDONLY)
    try:
        # Some network file systems refuse this for folders; the file itself has been flushed then.
        with contextlib.suppress(OSError) if os.path.isdir(path) else contextlib.nullcontext():
            os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: AnyPath, data: Json) -> None:
    """Write JSON atomically. WorkError names the entry that is not a finite number: ``NaN`` is not JSON."""
    text = json.dumps(_plain(data, ''), indent=2, allow_nan=False)
    with atomic(path) as partial:
        partial.write_text(text + '\n', encoding='utf-8')


def _plain(value: object, where: str) -> object:
    """``value`` in JSON's own types; ``where``: its place, for the message."""
    if hasattr(value, 'tolist'):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(k): _plain(v, f'{where}.{k}' if where else str(k)) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v, f'{where}[{i}]') for i, v in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise WorkError(f'the result {where!r} is {value}, not a finite number: the result is not written as complete')
    return str(value) if isinstance(value, Path) else value


def read_json(path: AnyPath) -> Json | None:
    """The JSON object in a file; None where there is none that can be read."""
    if not Path(path).is_file():
        # A pipe would wait for ever.
        return None
    try:
        data = json.loads(Path(path).read_text(encoding='utf-8'))
    except (OSError, ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def write_state(path: AnyPath, data: Json) -> None:
    """Write JSON atomically with a checksum of its content, for `read_state`."""
    write_json(path, {**data, CHECKSUM: _checksum(data)})


def read_state(path: AnyPath) -> Json | None:
    """What `write_state` wrote; None where there is nothing, or anything else."""
    return read_record(path, ours_only=True)


def read_record(path: AnyPath, ours_only: bool = False) -> Json | None:
    """As `read_state`, or without ``ours_only`` also what bears no checksum, as earlier versions wrote it."""
    data = read_json(path)
    if data is None or (ours_only and CHECKSUM not in data):
        return None
    return data if matches_checksum(data) else None


def matches_checksum(data: Json) -> bool:
    """Whether the checksum, if there is one, is that of the other entries; it is taken out of them."""
    held = data.pop(CHECKSUM, None)
    return held is None or held == _checksum(data)


def _checksum(data: Json) -> str:
    return hashlib.sha256(json.dumps(_plain(data, ''), sort_keys=True).encode()).hexdigest()


def seal(path: AnyPath) -> None:
    """Add the sha256 of a file to its end, for `sealed`. For formats whose readers allow for more bytes."""
    digest = file_digest(path)
    with open(path, 'ab') as file:
        file.write(SEAL + digest.encode())


def sealed(path: AnyPath) -> bool | None:
    """Whether the content of a file is what was sealed; None for a file without seal."""
    size = len(SEAL) + 64
    with open(path, 'rb') as file:
        whole = file.seek(0, os.SEEK_END)
        file.seek(max(0, whole - size))
        seal = file.read()
    if not seal.startswith(SEAL):
        return None
    return file_digest(path, whole - size).encode() == seal[len(SEAL) :]


def require_regular(path: AnyPath) -> Path:
    """The path; InputError for a pipe, a device or a socket, which would hang or never end."""
    path = Path(path)
    if path.exists() and not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():
        raise InputError(f'{path} is not a file on disk (a pipe, device or socket); copy its content to a file')
    return path


def file_digest(path: AnyPath, size: int | None = None) -> str:
    """sha256 of a file, or of its first ``size`` bytes, in hexadecimal; read a piece at a time."""
    digest, left = hashlib.sha256(), os.path.getsize(path) if size is None else size
    with open(path, 'rb') as file:
        while piece := file.read(min(left, 2**22)):
            digest.update(piece)
            left -= len(piece)
    return digest.hexdigest()


def file_identity(path: AnyPath, whole: bool = False) -> Json:
    """What a file is known by: path, size, sha256; above 64 MiB, unless the ``whole`` content shall count, sha256 of
    256 samples, and the time of change."""
    path = Path(path)
    about = path.stat()
    record: Json = {'path': str(path.resolve()), 'size': about.st_size}
    if path.is_file() and (whole or about.st_size <= WHOLE):
        return {**record, 'sha256': file_digest(path)}
    record['mtime'] = about.st_mtime
    return {**record, 'sampled_sha256': _sampled_digest(path, about.st_size)} if path.is_file() else record


def _sampled_digest(path: Path, size: int) -> str:
    digest = hashlib.sha256()
    with path.open('rb', buffering=0) as file:
        for k in range(SAMPLES):
            file.seek((size - SAMPLE_BYTES) * k // (SAMPLES - 1))
            digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()


def changed(before: Json, now: Json) -> str | None:
    """How a file differs from what it was when `file_identity` was asked before, or None; paths do not matter."""
    if before['size'] != now['size']:
        return f'it had {before["size"]} bytes and has {now["size"]} now'
    for key in ('sha256', 'sampled_sha256'):
        if key in before and key in now and before[key] != now[key]:
            return 'its content is another'
    return None


def rewritten(before: Json, now: Json) -> bool:
    """Whether a large file, of which samples are the same, was written again since."""
    return 'sha256' not in now and before.get('mtime') != now.get('mtime')
