"""Small data for the tests: a phantom's particles as a user's project would hold them, made in a second."""

import mrcfile
import numpy as np
from pwem.objects import Acquisition, Coordinate, CTFModel, Particle, SetOfParticles, Transform
from pyworkflow.object import Integer
from pyworkflow.utils import cleanPath
from scipy.spatial.transform import Rotation

from cryoemgan.engine.imaging.phantom import claw

PIXEL, VOLTAGE, CS, CONTRAST = 6.0, 300.0, 2.7, 0.1


def random_matrices(count, shift, rng):
    """(T [n,4,4] of Scipion in px, A [n,3,3], s [n,2]): random orientations and shifts."""
    rotations = Rotation.random(count, random_state=rng.integers(2**31)).as_matrix()
    shifts = rng.normal(0, shift, (count, 2))
    inverse = np.tile(np.eye(4), (count, 1, 1))
    inverse[:, :3, :3], inverse[:, :2, 3] = rotations, -shifts
    return np.linalg.inv(inverse), rotations, shifts


def write_map(path, box=32):
    """The phantom's map."""
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(claw(1)[0].volume(box))
        mrc.voxel_size = PIXEL
    return path


def write_stack(path, images, pixel=PIXEL):
    """Images as a stack."""
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(np.asarray(images, np.float32))
        mrc.set_image_stack()
        mrc.voxel_size = pixel
    return path


def make_particles(
    folder, count=48, box=32, noise=1.0, with_ctf=False, aligned=True, seed=3, first_id=11, micrographs='mic'
):
    """A SetOfParticles (sqlite and stack in ``folder``) of noisy projections; ids leave gaps.

    with_ctf only gives the items CTF values; the images hold none.
    """
    rng = np.random.default_rng(seed)
    matrices, rotations, shifts = random_matrices(count, 1.0, rng)
    clean = claw(1)[0].project(box, rotations, shifts)
    stack = write_stack(f'{folder}/particles.mrcs', clean + noise * clean.std() * rng.normal(size=clean.shape))
    path = f'{folder}/particles.sqlite'
    cleanPath(path)
    particles = SetOfParticles(filename=path)
    acquisition = Acquisition(magnification=50000, voltage=VOLTAGE, sphericalAberration=CS, amplitudeContrast=CONTRAST)
    particles.setSamplingRate(PIXEL)
    particles.setAcquisition(acquisition)
    particles.setHasCTF(with_ctf)
    if aligned:
        particles.setAlignmentProj()
    for i in range(count):
        item = Particle()
        item.setObjId(first_id + 2 * i)
        item.setLocation(i + 1, stack)
        item.setAcquisition(acquisition.clone())
        if with_ctf:
            ctf = CTFModel()
            ctf.setStandardDefocus(12000 + 40 * i, 11900 + 40 * i, (7 * i) % 180)
            item.setCTF(ctf)
        if aligned:
            item.setTransform(Transform(matrix=matrices[i]))
        coordinate = Coordinate(x=100 + i, y=200 + i)
        coordinate.setMicId(1 + i // 10)
        coordinate.setMicName(f'{micrographs} {i // 10}.mrc')
        item.setCoordinate(coordinate)
        item._rlnRandomSubset = Integer(1 + i % 2)
        particles.append(item)
    particles.write()
    return particles
