"""The door from Scipion to the engine: SetOfParticles -> STAR table. The way back is ``results``.

Sets are iterated and tables written in blocks, so that memory does not grow with the number of particles.
"""

import os
import shutil
import tempfile
from itertools import islice

import gemmi
import numpy as np
from pwem.constants import NO_INDEX

from .constants import CTF_FLIP, CTF_FULL, CTF_NONE, CTF_PREMULTIPLIED
from .engine.data.image_names import split_image_name
from .engine.data.image_state import FLAGS
from .engine.data.optics import MAGNIFICATION
from .engine.data.star import star_of_text
from .engine.data.star_cells import PROVENANCE, as_text, quoted, value_of
from .engine.data.table import provenance_in
from .engine.errors import InputError
from .engine.files import atomic
from .engine.geometry import matrix_to_euler
from .stack_conversion import as_mrc, is_readable

BLOCK = 4096
# Columns of RELION's table that Scipion's importers keep as extra attributes, and that the engine uses or hands on.
EXTRA = ('rlnRandomSubset', 'rlnCtfBfactor', 'rlnCtfScalefactor', 'rlnGroupName', 'rlnOriginalParticleName',
         'rlnHelicalTubeID')  # fmt: skip
# What the engine found about single particles: attributes of the items, by which Scipion sorts and filters.
OURS = 'cryoemgan'
# Name of the image that a denoised one was made from, relative to the project: its identity for the engine.
ORIGINAL = 'rlnImageOriginalName'
# Enough for the engine's block, which stands last in a table.
TAIL = 2**16
MICROSCOPE = ('rlnVoltage', 'rlnSphericalAberration', 'rlnAmplitudeContrast')
# Columns of an optics group that the engine obeys. Of others, such as beam tilt, it only says how much they matter.
OPTICAL = (*MICROSCOPE, *MAGNIFICATION, *FLAGS)
PREMULTIPLIED = 'rlnCtfDataAreCtfPremultiplied'


def matrices_to_angles(matrices):
    """Scipion's projection matrices [n,4,4] (px) -> rot, tilt, psi [n] in degrees and shifts [n,2] in px.

    inv(T) = [A | -s]: A maps the particle's frame to the image's (ZYZ Euler angles), s = (x, y) centres the image.
    """
    inverse = np.linalg.inv(matrices)
    return (*matrix_to_euler(inverse[:, :3, :3]), -inverse[:, :2, 3])


def enabled_items(particles, only=None):
    """The enabled items of a set, one after the other the same object; only: ids of those to take, ascending."""
    if only is None:
        return (item for item in particles.iterItems() if item.isEnabled())
    wanted = set(only)
    items = particles.iterItems(where=f'id BETWEEN {only[0]} AND {only[-1]}')
    return (item for item in items if item.isEnabled() and item.getObjId() in wanted)


def write_particles(particles, path, only=None):
    """Write the enabled items of a SetOfParticles as a RELION 3.1 STAR table; returns their number. only: ids of those
    to write, ascending.

    Identity: _rlnImageId is the particle's id in Scipion. Angles are written for projection alignment only. How images
    of this plugin came about is copied from the table beside their stack. Stacks that are not MRC are converted beside
    the table.
    """
    folder = os.path.dirname(os.path.abspath(path))
    writer = _Writer(particles, folder)
    # The optics groups come first in the file and are known last.
    with tempfile.TemporaryFile('w+', encoding='utf-8', dir=folder) as body:
        count = 0
        items = enabled_items(particles, only)
        while block := [writer.record(item) for item in islice(items, BLOCK)]:
            body.write(writer.text(block))
            count += len(block)
        body.seek(0)
        with atomic(path) as partial, open(partial, 'w', encoding='utf-8') as f:
            f.write('# version 30001\n\n' + writer.optics() + '# version 30001\n\ndata_particles\n\nloop_\n')
            f.writelines(f'_{label} #{i + 1}\n' for i, label in enumerate(writer.labels))
            shutil.copyfileobj(body, f)
            f.write('\n' + _provenance_text(particles))
    return count


def provenance_of(particles):
    """{key: text} that the engine said of a set's images, from the table beside their stack; {} for other images.

    Subsets and copies of a set keep the stack, so nothing has to be stored with the set.
    """
    found = _provenance_block(particles)
    return provenance_in(found) if found is not None else {}


def _provenance_block(particles):
    first = particles.getFirstItem()
    table = os.path.splitext(first.getFileName() or '')[0] + '.star' if first is not None else ''
    if not os.path.isfile(table):
        return None
    with open(table, 'rb') as f:
        f.seek(max(0, os.path.getsize(table) - TAIL))
        _, mark, tail = f.read().decode('utf-8', 'replace').rpartition(f'\ndata_{PROVENANCE}\n')
    return star_of_text(mark.strip() + '\n' + tail, table).document if mark else None


def _provenance_text(particles):
    """The provenance block; of images of other programs only what Scipion knows of their CTF."""
    found = _provenance_block(particles)
    if found is not None:
        return as_text(found)
    state = state_of(particles)
    # Where nothing is known, nothing is said.
    return f'data_{PROVENANCE}\n\n_{PROVENANCE}Ctf {state}\n' if state != CTF_FULL else ''


class _Writer:
    """Columns of one set, decided from its first item (Scipion's sets are uniform), and its optics groups."""

    def __init__(self, particles, folder):
        first = particles.getFirstItem()
        self.particles, self._folder = particles, folder
        self._pixel = particles.getSamplingRate()
        self._aligned = particles.hasAlignmentProj()
        self._ctf = particles.hasCTF() and first.hasCTF()
        self._coordinates = first.hasCoordinate()
        self._class = first.hasClassId()
        self._extra = _extra_labels(first)
        # The name of a converted image is not its identity.
        self._original = first.hasAttribute('_' + ORIGINAL) or not is_readable(first.getFileName())
        # RELION's importer leaves the optics groups in the set, and their number sometimes in the items.
        self._numbered = first.hasAttribute('_rlnOpticsGroup')
        self._relion = optics_of(particles)
        if self._relion and not self._numbered:
            self._relion = _one_group(self._relion)
        self._whole = _microscope(particles.getAcquisition())
        self._own = first.hasAcquisition()
        self._groups = {}
        self._paths, self._converted = {}, {}
        self.labels = ['rlnImageId', 'rlnImageName', 'rlnOpticsGroup']
        if self._aligned:
            self.labels += ['rlnAngleRot', 'rlnAngleTilt', 'rlnAnglePsi', 'rlnOriginXAngst', 'rlnOriginYAngst']
        if self._ctf:
            self.labels += ['rlnDefocusU', 'rlnDefocusV', 'rlnDefocusAngle', 'rlnPhaseShift']
        if self._coordinates:
            self.labels += ['rlnCoordinateX', 'rlnCoordinateY', 'rlnMicrographName']
        self.labels += (['rlnClassNumber'] if self._class else []) + self._extra
        self.labels += [ORIGINAL] if self._original else []

    def record(self, item):
        """What one item says, as plain values (Scipion reuses the item for the next row)."""
        row = [item.getObjId(), self._image_name(item), self._group(item)]
        if self._aligned:
            row.append(item.getTransform().getMatrix())
        if self._ctf:
            ctf = item.getCTF()
            phase = ctf.getPhaseShift() or item.getAttributeValue('_rlnPhaseShift') or 0.0
            row += [ctf.getDefocusU(), ctf.getDefocusV(), ctf.getDefocusAngle(), phase]
        if self._coordinates:
            c = item.getCoordinate()
            name = c.getMicName() or (f'mic{c.getMicId()}' if c.getMicId() else 'none')
            row += [c.getX(), c.getY(), quoted(name)]
        if self._class:
            row.append(item.getClassId())
        row += [_plain(item.getAttributeValue('_' + label)) for label in self._extra]
        if self._original:
            row.append(self._original_name(item))
        return row

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
        return as_text(document) + '\n'

    def _group(self, item):
        """Number of an item's optics group."""
        if self._relion is not None:
            return item.getAttributeValue('_rlnOpticsGroup') if self._numbered else self._relion['rlnOpticsGroup'][0]
        own = _microscope(item.getAcquisition()) if self._own else self._whole
        setting = tuple(w if v is None else v for v, w in zip(own, self._whole))
        return self._groups.setdefault(setting, len(self._groups) + 1)

    def _image_name(self, item):
        index, path = item.getLocation()
        if path not in self._converted:
            self._converted[path] = as_mrc(path, self._folder)
        return self._name(1 if index == NO_INDEX else index, self._converted[path])

    def _original_name(self, item):
        name = item.getAttributeValue('_' + ORIGINAL)
        split = split_image_name(name or '')
        # A name that a RELION project left may be of any form; it is an identity all the same.
        return (
            self._name(*split)
            if split
            else quoted(name)
            if name
            else self._name(item.getIndex() or 1, item.getFileName())
        )

    def _name(self, index, path):
        """``000001@/absolute/stack``, quoted where STAR needs it."""
        if path not in self._paths:
            absolute = os.path.abspath(path)
            self._paths[path] = absolute, quoted(absolute) == absolute
        absolute, plain = self._paths[path]
        name = f'{int(index):06d}@{absolute}'
        return name if plain else quoted(name)


def _extra_labels(item):
    """RELION's and the engine's own columns that an item carries."""
    names = [name[1:] for name, _ in item.getAttributes()]
    return [label for label in EXTRA if label in names] + [n for n in names if n.startswith(OURS)]


def _plain(value):
    return quoted(value) if isinstance(value, str) else value


def _microscope(acquisition):
    return acquisition.getVoltage(), acquisition.getSphericalAberration(), acquisition.getAmplitudeContrast()


def optics_of(particles):
    """{label: values as text} of the optics groups that RELION's importer left in the set's acquisition, or None."""
    text = particles.getAcquisition().getAttributeValue('opticsGroupInfo')
    block = star_of_text(text, 'opticsGroupInfo').document.find_block('optics') if text else None
    loop = next((item.loop for item in block if item.loop is not None), None) if block is not None else None
    if loop is None or '_rlnOpticsGroup' not in loop.tags or not loop.length():
        return None
    return {tag[1:]: [value_of(c) for c in block.find_loop(tag)] for tag in loop.tags}


def is_premultiplied(particles):
    """Whether RELION's optics groups say that the images were multiplied by their CTF."""
    groups = optics_of(particles) or {}
    return any(float(v) for v in groups.get(PREMULTIPLIED, ()))


def state_of(particles):
    """What the images of a set hold of the CTF, as Scipion and RELION's optics groups say it."""
    if particles.isAmplitudeCorrected():
        return CTF_NONE
    if is_premultiplied(particles):
        return CTF_PREMULTIPLIED
    return CTF_FLIP if particles.isPhaseFlipped() else CTF_FULL


def _one_group(groups):
    """The optics group of a set whose items do not say which is theirs: the only one, or one of several that are alike
    in all that changes an image. InputError when they differ."""
    different = [label for label in OPTICAL if len(set(groups.get(label, ()))) > 1]
    if different:
        raise InputError(
            f'the set has {len(groups["rlnOpticsGroup"])} optics groups, which differ in _{", _".join(different)}, but '
            "its particles do not say to which they belong (RELION's importer did not keep it): import each optics "
            'group as a set of its own, or assign optics groups with the protocol of scipion-em-relion'
        )
    return {label: values[:1] for label, values in groups.items()}


def _cells(values):
    """Values as STAR text; text must be quoted already."""
    # What an object does not know (NULL in its database) is 'none', which the engine refuses by row where it is needed.
    return [f'{v:.6f}' if isinstance(v, float) else 'none' if v is None else str(v) for v in values]
