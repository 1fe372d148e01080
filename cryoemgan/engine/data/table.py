"""Particle tables: RELION STAR files (3.0 and 3.1), matched by identity, never by position."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..files import atomic
from ..shapes import AnyPath, Rows, RowsLike
from . import cryosparc, image_state
from .columns import IMAGE, Values, cells
from .image_model import SHIFTS, ImageModel
from .image_names import image_place, normalised_names, without_format
from .optics import require_single_particles
from .stacks import StackReader
from .star import read_star
from .star_blocks import Document
from .star_cells import PROVENANCE, value_of

# Columns that say who a particle is.
IDENTITY = {'uid': cryosparc.UID, 'id': 'rlnImageId', 'original': 'rlnImageOriginalName', 'name': 'rlnImageName'}
# The image that one was made from, where RELION's own column names another, as a subtraction of signal does.
MADE_FROM = 'cryoemganOriginalName'


class ParticleTable(ImageModel):
    """A set of particles: one row each, and its optics groups (RELION 3.1) if it has them."""

    def __init__(self, document: Document, path: AnyPath) -> None:
        self._document, self.path = document, Path(path)
        self._images: StackReader | None = None
        # Where else to look for stacks; rows as cryoSPARC had them, of a table that came from there.
        self._folder: Path | None = None
        self._cs: np.ndarray | None = None
        # Sentences about what was read otherwise than it may seem.
        self.notes: list[str] = []
        self._find_blocks()

    @classmethod
    def read(
        cls,
        path: AnyPath,
        images_folder: AnyPath | None = None,
        pixel_size: float | None = None,
        passthrough: AnyPath | None = None,
    ) -> ParticleTable:
        """Read a STAR file, or a .cs file of cryoSPARC; InputError when it is missing, malformed, empty or has no
        images.

        images_folder: where its stacks lie, if not where it says; pixel_size: of its images, A, instead of what it
        says; passthrough: second file of a cryoSPARC job. Tables of this program need none of them.
        """
        if cryosparc.is_cs(path):
            return cls._read_cs(path, images_folder, pixel_size, passthrough)
        if passthrough:
            raise InputError(f'--passthrough: {path} is no .cs file')
        found = read_star(path)
        table = cls(found.document, path)
        table.notes += found.notes
        if not len(table):
            raise InputError(f'{path}: no particles: the table has labels, but no rows')
        table.places()
        require_single_particles(table)
        if not table.provenance:
            table._folder = Path(images_folder) if images_folder else None
            if pixel_size:
                table._fill('rlnImagePixelSize', f'{pixel_size:.6f}')
                table.set('rlnImagePixelSize', np.full(len(table), float(pixel_size)))
        return table

    @classmethod
    def _read_cs(
        cls, path: AnyPath, images_folder: AnyPath | None, pixel_size: float | None, passthrough: AnyPath | None
    ) -> ParticleTable:
        found = cryosparc.read_cs(path, passthrough, pixel_size)
        table = cls.create(path, found.columns, found.optics)
        table.notes, table._cs = list(found.notes), found.array
        table._folder = Path(images_folder) if images_folder else None
        table.places()
        return table

    @classmethod
    def create(
        cls, path: AnyPath, columns: Mapping[str, Values], optics: Mapping[str, Values] | None = None
    ) -> ParticleTable:
        """A new table from columns {label: values} and optics groups {label: values} (both of RELION 3.1)."""
        parts = {'optics': optics, 'particles': columns}
        tables = {name: {label: cells(v) for label, v in part.items()} for name, part in parts.items() if part}
        return cls(Document.of(tables), path)

    # Images and identity

    @property
    def box(self) -> int:
        """Box of the images, px."""
        return self.images().box

    def images(self) -> StackReader:
        """The images, checked (see `stacks.StackReader`); opened once."""
        if self._images is None:
            index, names = self.places()
            files = {name: i for i, name in enumerate(dict.fromkeys(names))}
            paths = [self._find(name) for name in files]
            file_of_row = np.fromiter((files[n] for n in names), np.int32, len(names))
            self._images = StackReader(paths, file_of_row, index, self.describe)
        return self._images

    def stack_folder(self) -> Path:
        """Folder of the first image's stack."""
        return self._find(self.places()[1][0]).resolve().parent

    def describe(self, row: int) -> str:
        """'FILE row 3 (000003@stack.mrcs)': how messages name a particle."""
        return f'{self.path} row {row + 1} ({value_of(self._loop.columns[IMAGE][int(row)])})'

    def places(self) -> tuple[Rows, list[str]]:
        """(position in the stack from 0 int [n], name of the stack [n]) of each image."""
        numbers, stacks, known = np.empty(len(self), np.int64), [], dict[str, str]()
        for row, name in enumerate(self.texts('rlnImageName')):
            place = image_place(name)
            if place is None:
                raise InputError(
                    f'{self.describe(row)}: image numbers start at 1, this one is 0: all of them may be one too low'
                    if re.match(r'0+@', name)
                    else f'{self.describe(row)}: an image name must look like 000001@stack.mrcs'
                )
            numbers[row] = place[0] - 1
            # One object for each stack, not for each row.
            stacks.append(known.setdefault(place[1], place[1]))
        return numbers, stacks

    def _find(self, name: str) -> Path:
        """A stack named in the table: absolute, or relative to --images-folder, the table's folder, a folder above, or
        here; in --images-folder also by its last part alone."""
        folder = self.path.resolve().parent
        bases = [folder, *folder.parents, Path.cwd()]
        for path in dict.fromkeys((name, without_format(name))):
            inside = [self._folder / path, self._folder / Path(path).name] if self._folder else []
            for found in (*inside, *(base / path for base in bases)):
                if found.exists():
                    return found
        raise InputError(
            f'{self.path}: image stack {name} not found {f"in {self._folder}, " if self._folder else ""}beside the '
            f'table, in a folder above it, or in {Path.cwd()}. --images-folder says where else to look'
        )

    def relocate(self, folder: AnyPath) -> None:
        """Name the stacks as seen from ``folder``, where the table is about to be written; identity stays."""
        index, stacks = self.places()
        seen = {s: os.path.relpath(self._find(s).resolve(), Path(folder).resolve()) for s in dict.fromkeys(stacks)}
        if not self.has('rlnImageOriginalName'):
            self._keep_names()
        self.set('rlnImageName', (f'{i + 1:06d}@{seen[s]}' for i, s in zip(index, stacks)))

    def _keep_names(self) -> None:
        """The names of the images so far become those of the original images; RELION reverts a subtraction by those
        that stand there already."""
        label = MADE_FROM if self.has(IDENTITY['original']) else IDENTITY['original']
        self._loop.columns[f'_{label}'] = self._loop.columns[IMAGE]

    def _label_of(self, kind: str) -> str:
        return MADE_FROM if kind == 'original' and self.has(MADE_FROM) else IDENTITY[kind]

    def names(self) -> list[str]:
        """list of text [n]: identity by name, the normalised ``index@stack`` of the original image."""
        return list(self.identity('original') or self.identity('name') or ())

    def names_of(self, rows: RowsLike) -> Iterator[str]:
        """`names` of some rows, one after the other: a million names need not be in memory."""
        label = next(label for label in map(self._label_of, ('original', 'name')) if self.has(label))
        return normalised_names(self._loop.columns['_' + label].take(rows).texts())

    def identity(self, kind: str) -> Iterator[str] | None:
        """Who each particle is, as text: by cryoSPARC's ``uid``, ``id``, the name of the ``original`` image or that of
        the image (``name``); None where the table does not say."""
        label = self._label_of(kind)
        if not self.has(label):
            return None
        if kind == 'id':
            return map(str, self.ints(label))
        return self.texts(label) if kind == 'uid' else normalised_names(self.texts(label))

    # Output tables

    @property
    def provenance(self) -> dict[str, str]:
        """{key: text}: how the images came about (block ``cryoemgan``); empty for tables of other programs."""
        return provenance_in(self._document)

    @property
    def ctf_state(self) -> image_state.CtfState:
        """CtfState that the table states; unknown where it states none (`image_state`)."""
        return image_state.stated(self)

    def set_provenance(self, **values: object) -> None:
        """Add or replace entries of the provenance block; ``ctf`` is also said in RELION's columns, where there are
        some."""
        for label, state in image_state.FLAGS.items():
            if 'ctf' in values and self.has(label):
                self._fill(label, int(state.value == values['ctf']))
        for key, value in values.items():
            self._document.set_pair(PROVENANCE, f'_{PROVENANCE}' + _camel(key), ' '.join(str(value).split()))

    def derive(
        self, stack: str, box: int | None = None, pixel_size: float | None = None, rows: RowsLike | None = None
    ) -> ParticleTable:
        """The table of images made from these: same order, identity and columns.

        stack: file name of the new images, beside the new table. box (px), pixel_size (A): when they change, shifts
        in px change with them (those in A stay). rows: subset, in order.
        """
        new = self._copy(stack, rows)
        new._keep_names()
        new.set('rlnImageName', (f'{i + 1:06d}@{stack}' for i in range(len(new))))
        if pixel_size is not None:
            new._rescale(pixel_size, float(np.median(self.pixel_sizes)))
        if box is not None:
            new._fill('rlnImageSize', box)
        return new

    def subset(self, rows: RowsLike) -> ParticleTable:
        """The table of some of these particles, in the order of ``rows``: same images, all columns.

        A stack that a table elsewhere would not find is named by its absolute path.
        """
        new = self._copy(self.path.name, rows)
        index, stacks = new.places()
        found = {name: self._find(name).resolve() for name in dict.fromkeys(stacks)}
        # A stack of that name may lie here, too, and be another one.
        named = {name: name if path == Path(name).resolve() else str(path) for name, path in found.items()}
        new.set('rlnImageName', (f'{i + 1:06d}@{named[name]}' for i, name in zip(index, stacks)))
        if any(named[name] != name for name in named) and not new.has('rlnImageOriginalName'):
            # The name is the identity: it must survive the longer path.
            new.set('rlnImageOriginalName', (f'{i + 1:06d}@{name}' for i, name in zip(index, stacks)))
        return new

    def kept(self, rows: RowsLike) -> ParticleTable:
        """The table without the other rows; nothing else is another."""
        return self._copy(self.path.name, rows)

    def _copy(self, name: str, rows: RowsLike | None = None) -> ParticleTable:
        new = ParticleTable(self._document.copy(), self.path.with_name(name))
        new._folder, new._cs = self._folder, cryosparc.rows_of(self._cs, rows)
        if rows is not None:
            new._loop.columns = self._loop.take(rows).columns
        return new

    def _rescale(self, new_size: float, old_size: float) -> None:
        ratio = new_size / old_size
        if abs(ratio - 1) < 1e-9:
            return
        for _, pixels in SHIFTS:
            if self.has(pixels):
                self.set(pixels, self.floats(pixels) / ratio)
        for label in ('rlnImagePixelSize', 'rlnDetectorPixelSize', 'rlnPixelSize'):
            self._scale(label, ratio)

    def write(self, path: AnyPath) -> None:
        """Write the STAR file atomically; particles of cryoSPARC are written as a .cs file, too."""
        with atomic(path) as partial, partial.open('wb') as file:
            self._document.write(file)
        self.path = Path(path)
        if self._cs is not None:
            with atomic(self.path.with_suffix(cryosparc.SUFFIX)) as partial:
                cryosparc.write_cs(partial, self._cs, self)


def provenance_in(document: Document) -> dict[str, str]:
    """As `ParticleTable.provenance`, of a document that may hold nothing else."""
    block, prefix = document.block(PROVENANCE), f'_{PROVENANCE}'
    pairs = block.pairs.items() if block else ()
    return {_snake(tag[len(prefix) :]): value_of(cell) for tag, cell in pairs if tag.startswith(prefix)}


def _camel(key: str) -> str:
    return ''.join(part.capitalize() for part in key.split('_'))


def _snake(key: str) -> str:
    return re.sub(r'(?<!^)(?=[A-Z])', '_', key).lower()
