"""The door from the engine to Scipion: a verb's table -> SetOfParticles.

Rows are matched by the particle's id, never by position.
"""

import os

import numpy as np
from pwem.constants import NO_INDEX
from pyworkflow.object import Float, Integer, String

from .constants import CTF_FLIP, CTF_FULL, CTF_NONE, CTF_PREMULTIPLIED, CTF_UNKNOWN
from .convert import ORIGINAL, OURS, PREMULTIPLIED, enabled_items, is_premultiplied
from .engine.data.image_names import split_image_name
from .engine.data.table import MADE_FROM, ParticleTable
from .engine.errors import InputError
from .engine.finished import require_as_written


class Result:
    """A table and its stack that a verb wrote, looked up by the particle's id."""

    def __init__(self, path):
        require_as_written(path)
        table = ParticleTable.read(path)
        self.path = str(path)
        ids = table.ints('rlnImageId')
        self._order = np.argsort(ids, kind='stable')
        self._ids = ids[self._order]
        if len(ids) > 1 and (np.diff(self._ids) == 0).any():
            raise InputError(f'{path}: _rlnImageId {self._ids[:-1][np.diff(self._ids) == 0][0]} stands in two rows')
        names = [split_image_name(n) for n in table.strings('rlnImageName')]
        self.numbers = np.array([int(n[0]) for n in names])
        files = {n[1] for n in names}
        if len(files) != 1:
            raise InputError(f'{path}: images in {len(files)} stacks; one was expected')
        # Relative to the project, as everything that Scipion stores.
        self.stack = os.path.join(os.path.dirname(self.path), files.pop())
        require_as_written(self.stack)
        self.box, self.pixel_size = table.box, table.pixel_size
        self.ctf = table.provenance.get('ctf')
        self._columns = own_columns(table)

    def __len__(self):
        return len(self._ids)

    def row(self, particle_id):
        """Row of a particle in the table, or None when it is not there."""
        at = np.searchsorted(self._ids, particle_id)
        if at == len(self._ids) or self._ids[at] != particle_id:
            return None
        return self._order[at]

    def index(self, particle_id):
        """Index in the stack (from 1) of the image of a particle, or None when it has none."""
        row = self.row(particle_id)
        return None if row is None else int(self.numbers[row])

    def put(self, item, row):
        """Give an item the engine's own columns of a row, as attributes (``_cryoemganCorrelation``)."""
        for label, kind, values in self._columns:
            put_attribute(item, '_' + label, kind, values[row])


def put_attribute(item, name, kind, value):
    """Set an attribute that the item's class does not have; kind: Float, Integer or String."""
    if not item.hasAttribute(name):
        setattr(item, name, kind())
    getattr(item, name).set(value.item() if hasattr(value, 'item') else value)


def own_columns(table):
    """[(label, type of attribute, values [n])] of what the engine says of each particle."""
    columns = []
    # Where an image came from, Scipion knows by itself.
    for label in (n for n in table.labels() if n.startswith(OURS) and n != MADE_FROM):
        text = table.strings(label)
        try:
            numbers = np.array(text, np.float64)
        except ValueError:
            columns.append((label, String, text))
            continue
        whole = all(c.lstrip('-').isdecimal() for c in text)
        columns.append((label, Integer, numbers.astype(np.int64)) if whole else (label, Float, numbers))
    return columns


def fill_particles(output, particles, result, ctf=None):
    """Fill an empty SetOfParticles with the items of ``particles``, now showing the images of ``result``; returns how
    many have none there. ctf: see `describe_particles`."""
    describe_particles(output, particles, result, ctf)
    return append_particles(output, particles, result, ctf)


def describe_particles(output, particles, result, ctf=None):
    """Say in an empty SetOfParticles what it is going to hold: the items of ``particles`` with the images of a result.

    ctf: what the new images hold of it ('none', 'phase-flip', 'full'; None or 'unknown' = as the input).
    """
    output.copyInfo(particles)
    output.setSamplingRate(result.pixel_size if _resampled(particles, result) else particles.getSamplingRate())
    _state_ctf(output, particles, ctf)


def append_particles(output, particles, result, ctf=None, only=None):
    """Append the items of ``particles`` with the images of ``result``; returns how many have none there.

    Everything but location, pixel size, shifts (px) and CTF state is the input's; what the engine found about single
    particles and the name of the original image are added as attributes. only: ids of the items to take, ascending.
    """
    resampled = _resampled(particles, result)
    first = particles.getFirstItem()
    original = first is not None and first.hasAttribute('_' + ORIGINAL)
    missing = 0

    def update(item, row):
        nonlocal missing
        found = result.row(item.getObjId())
        item._appendItem = found is not None
        if found is None:
            missing += 1
            return
        if not original:
            number, path = item.getLocation()
            put_attribute(item, '_' + ORIGINAL, String, f'{1 if number == NO_INDEX else number:06d}@{path}')
        item.setLocation(int(result.numbers[found]), result.stack)
        result.put(item, found)
        if resampled and item.hasTransform():
            item.getTransform().scaleShifts(particles.getSamplingRate() / result.pixel_size)

    items = enabled_items(particles, only)
    # The item itself is appended: cloning it first costs three times as much.
    output.copyItems(items if ctf != CTF_NONE else _without_ctf(items), updateItemCallback=update, doClone=False)
    return missing


def _resampled(particles, result):
    return abs(particles.getSamplingRate() / result.pixel_size - 1) > 1e-6


def _state_ctf(output, particles, ctf):
    """Say in the set what its images hold of the CTF."""
    if ctf in (None, CTF_UNKNOWN):
        return
    output.setHasCTF(ctf != CTF_NONE and particles.hasCTF())
    output.setIsPhaseFlipped(ctf in (CTF_FLIP, CTF_NONE))
    output.setIsAmplitudeCorrected(ctf == CTF_NONE)
    assert ctf in (CTF_FULL, CTF_FLIP, CTF_NONE, CTF_PREMULTIPLIED), ctf
    if is_premultiplied(particles) and ctf != CTF_PREMULTIPLIED:
        info = output.getAcquisition().opticsGroupInfo
        info.set(info.get().replace(PREMULTIPLIED, f'{PREMULTIPLIED}OfInput'))


def _without_ctf(items):
    """Items without their CTF: images that hold none must not be corrected for it again."""
    for item in items:
        ctf = item.getCTF()
        item.setCTF(None)
        yield item
        # Scipion fills this very object with the next row.
        item.setCTF(ctf)


def original_identity(item):
    """(name of the original image or None, position on its micrograph or None): who a denoised particle is."""
    return item.getAttributeValue('_' + ORIGINAL), _position(item)


def different_particle(selected, particles):
    """Why equal ids do not mean equal particles, or None. selected: {id: ``original_identity``}; particles: a set.

    The same particle extracted again has another image but the same position on its micrograph.
    """
    few = len(selected) <= 1
    for item in (particles[i] for i in selected) if few else particles.iterItems():
        if item is None or item.getObjId() not in selected:
            continue
        name, position = selected[item.getObjId()]
        number, path = item.getLocation()
        own = os.path.abspath(path)
        same = name is None or (number, own) == _absolute(name)
        if not same and (position is None or position != _position(item)):
            return (
                f'Particle {item.getObjId()} of the selection was made from {name}, but particle {item.getObjId()} of '
                f'the originals is {number}@{path}: select the set that was denoised.'
            )
    return None


def _absolute(name):
    split = split_image_name(name)
    return (int(split[0]), os.path.abspath(split[1])) if split else None


def _position(item):
    """(micrograph, x, y) or None."""
    coordinate = item.getCoordinate() if item.hasCoordinate() else None
    if coordinate is None:
        return None
    return coordinate.getMicName() or coordinate.getMicId(), coordinate.getX(), coordinate.getY()
