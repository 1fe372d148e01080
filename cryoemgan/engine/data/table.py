"""Particle tables: RELION STAR files (3.0 and 3.1), matched by identity, never by position.

gemmi reads and writes them and keeps the cells; only the columns that are asked for become numbers.
"""

import copy
import os
import re
from pathlib import Path
from typing import Any

import gemmi
import numpy as np

from ..errors import InputError
from ..files import atomic
from . import cryosparc, image_state
from .columns import cells
from .image_model import SHIFTS, ImageModel
from .image_names import image_place, normalised_names, without_format
from .optics import require_single_particles
from .stacks import Images
from .star import read_star
from .star_cells import PROVENANCE, as_text, quoted, value_of


class ParticleTable(ImageModel):
    """A set of particles: one row each, and its optics groups (RELION 3.1) if it has them."""

    def __init__(self, document, path):
        self._document, self.path, self._images = document, Path(path), None
        # Where else to look for stacks; rows as cryoSPARC had them, of a table that came from there.
        self._folder, self._cs = None, None
        # Sentences about what was read otherwise than it may seem.
        self.notes = []
        self._find_blocks()

    @classmethod
    def read(cls, path, images_folder=None, pixel_size=None, passthrough=None):
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
        if table._particles is None:
            labels = [tag for block in found.document for item in block if item.loop for tag in item.loop.tags]
            raise InputError(
                f'{path}: no table with _rlnImageName in it (labels: {", ".join(labels[:4]) or "none"}); a particle '
                'STAR file of RELION is needed'
            )
        if not len(table):
            raise InputError(f'{path}: no particles: the table has labels, but no rows')
        table._row_of_image()
        require_single_particles(table)
        if not table.provenance:
            table._folder = images_folder and Path(images_folder)
            if pixel_size:
                table._fill('rlnImagePixelSize', f'{pixel_size:.6f}')
                table.set('rlnImagePixelSize', np.full(len(table), float(pixel_size)))
        return table

    @classmethod
    def _read_cs(cls, path, images_folder, pixel_size, passthrough):
        found = cryosparc.read_cs(path, passthrough, pixel_size)
        table = cls.create(path, found.columns, found.optics)
        table.notes, table._cs = list(found.notes), found.array
        table._folder = images_folder and Path(images_folder)
        table._row_of_image()
        return table

    @classmethod
    def create(cls, path, columns, optics=None):
        """A new table from columns {label: values} and optics groups {label: values} (both of RELION 3.1)."""
        document = gemmi.cif.Document()
        for name, part in (('optics', optics), ('particles', columns)):
            if part:
                loop = document.add_new_block(name).init_loop('_', list(part))
                loop.set_all_values([cells(v) for v in part.values()])
        return cls(document, path)

    # Images and identity

    @property
    def box(self):
        """Box of the images, px."""
        return self.images().box

    def images(self):
        """The images, checked (see stacks.Images); opened once."""
        if self._images is None:
            index, names = self._row_of_image()
            files = {name: i for i, name in enumerate(dict.fromkeys(names))}
            paths = [self._find(name) for name in files]
            self._images = Images(paths, [files[n] for n in names], index, self.describe)
        return self._images

    def places(self):
        """(position in the stack from 0 int [n], name of the stack [n]) of each image."""
        return self._row_of_image()

    def stack_folder(self):
        """Folder of the first image's stack."""
        return self._find(image_place(self.strings('rlnImageName')[0])[1]).resolve().parent

    def describe(self, row):
        """'FILE row 3 (000003@stack.mrcs)': how messages name a particle."""
        return f'{self.path} row {row + 1} ({value_of(self._column("rlnImageName")[int(row)])})'

    def _row_of_image(self):
        """(index in the stack from 0 [n], stack name [n])."""
        split = [image_place(n) for n in self.strings('rlnImageName')]
        if None in split:
            row = split.index(None)
            zero = re.match(r'0+@', self.strings('rlnImageName')[row])
            raise InputError(
                f'{self.describe(row)}: image numbers start at 1, this one is 0: all of them may be one too low'
                if zero
                else f'{self.describe(row)}: an image name must look like 000001@stack.mrcs'
            )
        return np.array([s[0] for s in split]) - 1, [s[1] for s in split]

    def _find(self, name):
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

    def relocate(self, folder):
        """Name the stacks as seen from ``folder``, where the table is about to be written; identity stays."""
        index, stacks = self._row_of_image()
        seen = {s: os.path.relpath(self._find(s).resolve(), Path(folder).resolve()) for s in dict.fromkeys(stacks)}
        if not self.has('rlnImageOriginalName'):
            self.set('rlnImageOriginalName', self.strings('rlnImageName'))
        self.set('rlnImageName', [f'{i + 1:06d}@{seen[s]}' for i, s in zip(index, stacks)])

    def names(self):
        """list of text [n]: identity by name, the normalised ``index@stack`` of the original image."""
        label = 'rlnImageOriginalName' if self.has('rlnImageOriginalName') else 'rlnImageName'
        return normalised_names(self.strings(label))

    def identities(self):
        """{kind: names [n]} in order of trust: id, original image name, image name."""
        found = {}
        if self.has(cryosparc.UID):
            found['uid'] = self.strings(cryosparc.UID)
        if self.has('rlnImageId'):
            found['id'] = [str(i) for i in self.ints('rlnImageId')]
        if self.has('rlnImageOriginalName'):
            found['original'] = normalised_names(self.strings('rlnImageOriginalName'))
        found['name'] = normalised_names(self.strings('rlnImageName'))
        return found

    # Output tables

    @property
    def provenance(self):
        """{key: text}: how the images came about (block ``cryoemgan``); empty for tables of other programs."""
        block = self._document.find_block(PROVENANCE)
        items: list[Any] = list(block or [])
        pairs = [item.pair for item in items if item.pair is not None]
        prefix = f'_{PROVENANCE}'
        return {_snake(tag[len(prefix) :]): value_of(value) for tag, value in pairs if tag.startswith(prefix)}

    def set_provenance(self, **values):
        """Add or replace entries of the provenance block; ``ctf`` is also said in RELION's columns, where there are
        some."""
        for label, state in image_state.FLAGS.items():
            if 'ctf' in values and self.has(label):
                self._fill(label, int(state.value == values['ctf']))
        block = self._document.find_block(PROVENANCE)
        if block is None:
            block = self._document.add_new_block(PROVENANCE)
            # A new block moves the others in memory: gemmi's views of them are void.
            self._find_blocks()
        for key, value in values.items():
            text = ' '.join(str(value).split())
            block.set_pair(f'_{PROVENANCE}' + _camel(key), quoted(text) if text else '.')

    def derive(self, stack, box=None, pixel_size=None, rows=None):
        """The table of images made from these: same order, identity and columns.

        stack: file name of the new images, beside the new table. box (px), pixel_size (A): when they change, shifts
        in px change with them (those in A stay). rows: subset, in order.
        """
        new = self._copy(stack, rows)
        new.set('rlnImageOriginalName', new.strings('rlnImageName'))
        new.set('rlnImageName', [f'{i + 1:06d}@{stack}' for i in range(len(new))])
        if pixel_size is not None:
            new._rescale(pixel_size, np.median(self.pixel_sizes))
        if box is not None:
            new._fill('rlnImageSize', box)
        return new

    def subset(self, rows):
        """The table of some of these particles, in the order of ``rows``: same images, all columns.

        A stack that a table elsewhere would not find is named by its absolute path.
        """
        new = self._copy(self.path.name, rows)
        split = [image_place(n) for n in new.strings('rlnImageName')]
        found = {name: self._find(name).resolve() for name in dict.fromkeys(name for _, name in split)}
        # A stack of that name may lie here, too, and be another one.
        found = {name: name if path == Path(name).resolve() else path for name, path in found.items()}
        new.set('rlnImageName', [f'{index:06d}@{found[name]}' for index, name in split])
        if any(found[name] != name for name in found) and not new.has('rlnImageOriginalName'):
            # The name is the identity: it must survive the longer path.
            new.set('rlnImageOriginalName', [f'{index:06d}@{name}' for index, name in split])
        return new

    def kept(self, rows):
        """The table without the other rows; nothing else is another."""
        return self._copy(self.path.name, rows)

    def _copy(self, name, rows=None):
        new = ParticleTable(copy.deepcopy(self._document), self.path.with_name(name))
        new._folder, new._cs = self._folder, cryosparc.rows_of(self._cs, rows)
        if rows is not None:
            new._keep(rows)
        return new

    def _keep(self, rows):
        loop = self._loop
        columns = [list(self._particles.find_loop(tag)) for tag in loop.tags]
        loop.set_all_values([[column[row] for row in rows] for column in columns])

    def _fill(self, label, value):
        """Give a column of the particles or of their optics groups the same value everywhere, where it is."""
        for block in (self._particles, self._optics):
            column = block.find_loop('_' + label) if block is not None else []
            for row in range(len(column)):
                column[row] = str(value)

    def _rescale(self, new_size, old_size):
        ratio = new_size / old_size
        if abs(ratio - 1) < 1e-9:
            return
        for _, pixels in SHIFTS:
            if self.has(pixels):
                self.set(pixels, self.floats(pixels) / ratio)
        for label in ('rlnImagePixelSize', 'rlnDetectorPixelSize', 'rlnPixelSize'):
            for block in (self._particles, self._optics):
                column = block.find_loop('_' + label) if block is not None else []
                for row in range(len(column)):
                    column[row] = f'{float(column[row]) * ratio:.6f}'

    def write(self, path):
        """Write the STAR file atomically; particles of cryoSPARC are written as a .cs file, too."""
        with atomic(path) as partial:
            partial.write_text(as_text(self._document), encoding='utf-8')
        self.path = Path(path)
        if self._cs is not None:
            with atomic(self.path.with_suffix(cryosparc.SUFFIX)) as partial:
                cryosparc.write_cs(partial, self._cs, self)


def _camel(key):
    return ''.join(part.capitalize() for part in key.split('_'))


def _snake(key):
    return re.sub(r'(?<!^)(?=[A-Z])', '_', key).lower()
