"""The door between Scipion and the engine: SetOfParticles -> STAR table, result table -> SetOfParticles.

Rows are matched by the particle's id, never by position. Sets are iterated and tables written in blocks, so that
memory does not grow with the number of particles.
"""

import os
import shutil
import tempfile
from itertools import islice

import gemmi
import numpy as np
from pwem.constants import NO_INDEX

from .constants import CTF_FLIP, CTF_FULL, CTF_NONE
from .engine.errors import InputError
from .engine.geometry import matrix_to_euler
from .engine.job import atomic
from .engine.table import ParticleTable, split_image_name

BLOCK = 4096
# Columns of RELION's table that Scipion's importers keep as extra attributes, and that the engine uses or hands on.
EXTRA = ('rlnRandomSubset', 'rlnCtfBfactor', 'rlnCtfScalefactor', 'rlnGroupName', 'rlnOriginalParticleName')
MICROSCOPE = ('rlnVoltage', 'rlnSphericalAberration', 'rlnAmplitudeContrast')


def matrices_to_angles(matrices):
    """Scipion's projection matrices [n,4,4] (px) -> rot, tilt, psi [n] in degrees and shifts [n,2] in px.

    inv(T) = [A | -s]: A maps the particle's frame to the image's (ZYZ Euler angles), s = (x, y) centres the image.
    """
    inverse = np.linalg.inv(matrices)
    return (*matrix_to_euler(inverse[:, :3, :3]), -inverse[:, :2, 3])


def write_particles(particles, path):
    """Write the enabled items of a SetOfParticles as a RELION 3.1 STAR table; returns their number.

    Identity: _rlnImageId is the particle's id in Scipion. Angles are written for projection alignment only.
    """
    writer = _Writer(particles)
    folder = os.path.dirname(os.path.abspath(path))
    # The optics groups come first in the file and are known last.
    with tempfile.TemporaryFile('w+', encoding='utf-8', dir=folder) as body:
        count = 0
        items = (item for item in particles.iterItems() if item.isEnabled())
        while block := [writer.record(item) for item in islice(items, BLOCK)]:
            body.write(writer.text(block))
            count += len(block)
        body.seek(0)
        with atomic(path) as partial, open(partial, 'w', encoding='utf-8') as f:
            f.write('# version 30001\n\n' + writer.optics() + '# version 30001\n\ndata_particles\n\nloop_\n')
            f.writelines(f'_{label} #{i + 1}\n' for i, label in enumerate(writer.labels))
            shutil.copyfileobj(body, f)
            f.write('\n')
    return count


class _Writer:
    """Columns of one set, decided from its first item (Scipion's sets are uniform), and its optics groups."""

    def __init__(self, particles):
        first = particles.getFirstItem()
        self.particles = particles
        self._pixel = particles.getSamplingRate()
        self._aligned = particles.hasAlignmentProj()
        self._ctf = particles.hasCTF() and first.hasCTF()
        self._coordinates = first.hasCoordinate()
        self._class = first.hasClassId()
        self._extra = [label for label in EXTRA if first.hasAttribute('_' + label)]
        info = particles.getAcquisition().getAttributeValue('opticsGroupInfo')
        # RELION's importer leaves the optics groups in the set, and their number in the items.
        self._relion = _relion_optics(info) if info and first.hasAttribute('_rlnOpticsGroup') else None
        self._whole = _microscope(particles.getAcquisition())
        self._own = first.hasAcquisition()
        self._groups = {}
        self._paths = {}
        self.labels = ['rlnImageId', 'rlnImageName', 'rlnOpticsGroup']
        if self._aligned:
            self.labels += ['rlnAngleRot', 'rlnAngleTilt', 'rlnAnglePsi', 'rlnOriginXAngst', 'rlnOriginYAngst']
        if self._ctf:
            self.labels += ['rlnDefocusU', 'rlnDefocusV', 'rlnDefocusAngle', 'rlnPhaseShift']
        if self._coordinates:
            self.labels += ['rlnCoordinateX', 'rlnCoordinateY', 'rlnMicrographName']
        self.labels += (['rlnClassNumber'] if self._class else []) + self._extra

    def record(self, item):
        """What one item says, as plain values (Scipion reuses the item for the next row)."""
        row = [item.getObjId(), self._image_name(item), self._group(item)]
        if self._aligned:
            row.append(item.getTransform().getMatrix())
        if self._ctf:
            ctf = item.getCTF()
            row += [ctf.getDefocusU(), ctf.getDefocusV(), ctf.getDefocusAngle(), ctf.getPhaseShift() or 0.0]
        if self._coordinates:
            c = item.getCoordinate()
            name = c.getMicName() or (f'mic{c.getMicId()}' if c.getMicId() else 'none')
            row += [c.getX(), c.getY(), gemmi.cif.quote(name)]
        if self._class:
            row.append(item.getClassId())
        return row + [item.getAttributeValue('_' + label) for label in self._extra]

    def text(self, records):
        """Lines of a block of records."""
        columns = [list(c) for c in zip(*records)]
        if self._aligned:
            rot, tilt, psi, shifts = matrices_to_angles(np.array(columns[3], np.float64))
            columns[3:4] = [rot, tilt, psi, *(shifts.T * self._pixel)]
        cells = [_cells(c) for c in columns]
        return ''.join(' '.join(row) + '\n' for row in zip(*cells))

    def optics(self):
        """The optics block, as text: the importer's groups, or one for each microscope setting that was met."""
        columns = self._relion
        if columns is None:
            columns = {
                'rlnOpticsGroupName': [f'opticsGroup{n}' for n in self._groups.values()],
                'rlnOpticsGroup': list(self._groups.values()),
            }
            for label, values in zip(MICROSCOPE, zip(*self._groups)):
                if None not in values:
                    columns[label] = [float(v) for v in values]
        count = len(columns['rlnOpticsGroup'])
        # A Scipion set has one pixel size and one box, whatever the imported table said.
        columns.update(
            rlnImagePixelSize=[float(self._pixel)] * count,
            rlnImageDimensionality=[2] * count,
            rlnImageSize=[int(self.particles.getXDim())] * count,
        )
        document = gemmi.cif.Document()
        loop = document.add_new_block('optics').init_loop('_', list(columns))
        loop.set_all_values([_cells(v) for v in columns.values()])
        return document.as_string() + '\n'

    def _group(self, item):
        """Number of an item's optics group."""
        if self._relion is not None:
            return item.getAttributeValue('_rlnOpticsGroup')
        own = _microscope(item.getAcquisition()) if self._own else self._whole
        setting = tuple(w if v is None else v for v, w in zip(own, self._whole))
        return self._groups.setdefault(setting, len(self._groups) + 1)

    def _image_name(self, item):
        index, path = item.getLocation()
        if path not in self._paths:
            absolute = os.path.abspath(path)
            self._paths[path] = absolute, gemmi.cif.quote(absolute) == absolute
        absolute, plain = self._paths[path]
        name = f'{1 if index == NO_INDEX else index:06d}@{absolute}'
        return name if plain else gemmi.cif.quote(name)


def _microscope(acquisition):
    return acquisition.getVoltage(), acquisition.getSphericalAberration(), acquisition.getAmplitudeContrast()


def _relion_optics(text):
    """Columns of the optics table that RELION's importer left in the set's acquisition."""
    block = gemmi.cif.read_string(text).find_block('optics')
    loop = next(item.loop for item in block if item.loop is not None)
    return {tag[1:]: [gemmi.cif.as_string(c) for c in block.find_loop(tag)] for tag in loop.tags}


def _cells(values):
    """Values as STAR text; text must be quoted already."""
    if isinstance(values, np.ndarray) or isinstance(values[0], float):
        return [f'{v:.6f}' for v in values]
    return [v if isinstance(v, str) else 'none' if v is None else str(v) for v in values]


class Result:
    """A table and its stack that a verb wrote, looked up by the particle's id."""

    def __init__(self, path):
        self.table = ParticleTable.read(path)
        self.path = str(path)
        ids = self.table.ints('rlnImageId')
        self._order = np.argsort(ids, kind='stable')
        self._ids = ids[self._order]
        if len(ids) > 1 and (np.diff(self._ids) == 0).any():
            raise InputError(f'{path}: _rlnImageId {self._ids[:-1][np.diff(self._ids) == 0][0]} stands in two rows')
        names = [split_image_name(n) for n in self.table.strings('rlnImageName')]
        self._index = np.array([n[0] for n in names])
        files = {n[1] for n in names}
        if len(files) != 1:
            raise InputError(f'{path}: images in {len(files)} stacks; one was expected')
        # Relative to the project, as everything that Scipion stores.
        self.stack = os.path.join(os.path.dirname(self.path), files.pop())
        self.box, self.pixel_size = self.table.box, self.table.pixel_size
        self.ctf = self.table.provenance.get('ctf')

    def __len__(self):
        return len(self._ids)

    def index(self, particle_id):
        """Index in the stack (from 1) of the image of a particle, or None when it has none."""
        at = np.searchsorted(self._ids, particle_id)
        if at == len(self._ids) or self._ids[at] != particle_id:
            return None
        return int(self._index[self._order[at]])


def fill_particles(output, particles, result, ctf=None):
    """Fill an empty SetOfParticles with the items of ``particles``, now showing the images of ``result``.

    Everything but location, pixel size, shifts (px) and CTF state is the input's. ctf: what the new images hold of
    it ('none', 'phase-flip', 'full'; None = as the input). Items without a result are left out; returns how many.
    """
    output.copyInfo(particles)
    scale = particles.getSamplingRate() / result.pixel_size
    resampled = abs(scale - 1) > 1e-6
    output.setSamplingRate(result.pixel_size if resampled else particles.getSamplingRate())
    _state_ctf(output, particles, ctf)
    missing = 0

    def update(item, row):
        nonlocal missing
        index = result.index(item.getObjId())
        item._appendItem = index is not None
        if index is None:
            missing += 1
            return
        item.setLocation(index, result.stack)
        if resampled and item.hasTransform():
            item.getTransform().scaleShifts(scale)

    items = particles.iterItems() if ctf != CTF_NONE else _without_ctf(particles.iterItems())
    # The item itself is appended: cloning it first costs three times as much.
    output.copyItems(items, updateItemCallback=update, doClone=False)
    return missing


def _state_ctf(output, particles, ctf):
    """Say in the set what its images hold of the CTF."""
    if ctf is None:
        return
    output.setHasCTF(ctf != CTF_NONE and particles.hasCTF())
    output.setIsPhaseFlipped(ctf in (CTF_FLIP, CTF_NONE))
    output.setIsAmplitudeCorrected(ctf == CTF_NONE)
    assert ctf in (CTF_FULL, CTF_FLIP, CTF_NONE), ctf


def _without_ctf(items):
    """Items without their CTF: images that hold none must not be corrected for it again."""
    for item in items:
        ctf = item.getCTF()
        item.setCTF(None)
        yield item
        # Scipion fills this very object with the next row.
        item.setCTF(ctf)
