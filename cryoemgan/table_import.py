"""A RELION table as a SetOfParticles, without RELION's plugin: for simulated data."""

import os

import numpy as np
from pwem.objects import Acquisition, Coordinate, CTFModel, Particle, Transform
from pyworkflow.object import Integer

from .engine.data.image_names import image_place
from .engine.data.table import ParticleTable
from .results import own_columns, put_attribute


def read_particles(path, output, rows=None):
    """Fill an empty SetOfParticles from a RELION table that Scipion cannot import by itself (no plugin needed).

    Ids are _rlnImageId where the table has it, else the rows from 1. Stacks are stored relative to the project when
    ``path`` is, else by absolute path. About 0.5 ms a particle: for simulated data; a refinement's table is imported
    with Scipion's own protocol. rows: only these.
    """
    table = ParticleTable.read(path)
    output.setSamplingRate(table.pixel_size)
    output.setAcquisition(_acquisition(table))
    columns = _Columns(table)
    output.setHasCTF(columns.ctf is not None)
    if columns.matrices is not None:
        output.setAlignmentProj()
    for row in range(len(table)) if rows is None else rows:
        output.append(columns.particle(row))


def _acquisition(table):
    values = {
        name: float(table.floats(label)[0]) if table.has(label) else None
        for name, label in (
            ('voltage', 'rlnVoltage'),
            ('sphericalAberration', 'rlnSphericalAberration'),
            ('amplitudeContrast', 'rlnAmplitudeContrast'),
        )
    }
    return Acquisition(magnification=10000, **{k: v for k, v in values.items() if v is not None})


class _Columns:
    """A table's columns as Scipion's objects want them."""

    def __init__(self, table):
        names = [image_place(n) for n in table.strings('rlnImageName')]
        folder = os.path.dirname(table.path)
        self._locations = [(index, os.path.normpath(os.path.join(folder, name))) for index, name in names]
        self._ids = table.ints('rlnImageId') if table.has('rlnImageId') else np.arange(1, len(table) + 1)
        self.matrices = self._matrices(table) if table.has('rlnAngleRot') else None
        self.ctf = table.ctf() if table.has('rlnDefocusU') else None
        self._coordinates = [table.floats(f'rlnCoordinate{a}') for a in 'XY'] if table.has('rlnCoordinateX') else None
        self._micrographs = table.strings('rlnMicrographName') if table.has('rlnMicrographName') else None
        self._class = table.ints('rlnClassNumber') if table.has('rlnClassNumber') else None
        self._half = table.half_sets()
        self._own = own_columns(table)

    @staticmethod
    def _matrices(table):
        """T [n,4,4], px: inv(T) = [A | -s]."""
        inverse = np.tile(np.eye(4), (len(table), 1, 1))
        inverse[:, :3, :3] = table.rotations()
        inverse[:, :2, 3] = -table.shifts()
        return np.linalg.inv(inverse)

    def particle(self, row):
        """One particle as an object of Scipion."""
        item = Particle()
        item.setObjId(int(self._ids[row]))
        item.setLocation(*self._locations[row])
        if self.matrices is not None:
            item.setTransform(Transform(matrix=self.matrices[row]))
        if self.ctf is not None:
            ctf = CTFModel()
            ctf.setStandardDefocus(*(float(self.ctf[k][row]) for k in ('defocus_u', 'defocus_v', 'defocus_angle')))
            if self.ctf['phase_shift'].any():
                ctf.setPhaseShift(float(self.ctf['phase_shift'][row]))
            item.setCTF(ctf)
        if self._coordinates is not None:
            coordinate = Coordinate(x=float(self._coordinates[0][row]), y=float(self._coordinates[1][row]))
            if self._micrographs is not None:
                coordinate.setMicName(self._micrographs[row])
            item.setCoordinate(coordinate)
        if self._class is not None:
            item.setClassId(int(self._class[row]))
        if self._half is not None:
            item._rlnRandomSubset = Integer(int(self._half[row]))
        for label, kind, values in self._own:
            put_attribute(item, '_' + label, kind, values[row])
        return item
