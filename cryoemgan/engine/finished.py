"""What a finished result says of its files, and whether they still are what its run wrote.

``summary.json`` is written last and holds size and digest of every file of the result: one that was cut off, damaged or
changed afterwards is told before anybody believes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from .errors import InputError
from .files import changed, file_identity, read_record
from .shapes import AnyPath, Json

SUMMARY, SETTINGS = 'summary.json', 'settings.json'
# Entry of the summary with the files' sizes and digests.
FILES = 'files'
# Ends of the names of files of no use once their run has finished.
JOURNAL, PARTIAL = '.journal', '.partial'
# Tables are known by every byte, however large; of large stacks samples are enough.
TABLES = ('.star', '.cs', '.csv')


def describe(folder: Path, outputs: Iterable[str]) -> Json:
    """{name: size and digest} of the files of a result, those in its sub-folders too, for its summary."""
    found = {}
    for path in sorted({path for name in outputs for path in _files(folder / name)}):
        about = file_identity(path, whole=path.suffix in TABLES)
        found[path.relative_to(folder).as_posix()] = {k: v for k, v in about.items() if k not in ('path', 'mtime')}
    return found


def _files(path: Path) -> Iterator[Path]:
    inside = path.rglob('*') if path.is_dir() else [path]
    return (p for p in inside if p.is_file() and p.suffix not in (JOURNAL, PARTIAL))


def damage(folders: Sequence[Path], summary: Json) -> str | None:
    """The first file of a result that is not what its run wrote, and why; None for a whole one.

    folders: where its files may lie (a result that is taking the place of another lies in two); results of steps are
    in the last.
    """
    for name, before in (summary.get(FILES) or {}).items():
        path = next((folder / name for folder in folders if (folder / name).is_file()), None)
        why = 'it is missing' if path is None else _differs(path, before)
        if why:
            return f'{name}: {why}'
    for step in summary.get('steps') or []:
        if not is_whole(folders[-1] / step['folder']):
            return f'{step["folder"]}: a file of this step is missing or damaged'
    return None


def is_whole(folder: Path) -> bool:
    """Whether a folder holds a finished result, every file as its run wrote it."""
    summary = read_record(folder / SUMMARY)
    return summary is not None and damage([folder], summary) is None


def require_as_written(path: AnyPath, now: Json | None = None) -> None:
    """InputError for a file of a result of this program whose run has not finished, or that is not what it wrote.

    now: what `files.file_identity` says of it, where that is known already. Other files may be what they like.
    """
    path = Path(path).resolve()
    settings, summary = (read_record(path.with_name(name)) for name in (SETTINGS, SUMMARY))
    if settings is None or path.name not in (settings.get('outputs') or []):
        return
    verb = settings.get('verb')
    if summary is None:
        raise InputError(
            f'{path}: the run of "{verb}" that writes it has not come to its end (no whole {SUMMARY} beside it); '
            'go on with it first (--resume)'
        )
    why = _differs(path, (summary.get(FILES) or {}).get(path.name), now)
    if why:
        raise InputError(
            f'{path} is not what the run of "{verb}" wrote ({why}): it was damaged, or changed afterwards. Copy it '
            'again, or make it again with the same command and --resume; what you change yourself belongs under '
            'another name'
        )


def _differs(path: Path, before: Json | None, now: Json | None = None) -> str | None:
    """How a file differs from its record, or None; also where there is no record."""
    if not before or not path.is_file():
        return None
    if now is None or not before.keys() & now.keys() - {'size'}:
        now = file_identity(path, whole='sha256' in before)
    return changed(before, now)
