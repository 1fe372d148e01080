"""Maps of a form: written for the engine, and the particles of a 3D classification as one set."""

import os
import shutil

import mrcfile
from pwem.emlib.image import ImageHandler
from pwem.objects import SetOfParticles
from pyworkflow.utils import cleanPath

HALF_SET = '_rlnRandomSubset'


def write_map(location, path, pixel_size=None):
    """A map as an MRC file at ``path``: a link where it is one already, else converted. location: (index, file).

    pixel_size: A, for programs that read it from the header; a header that says otherwise is corrected in a copy.
    """
    source = location[1].replace(':mrc', '')
    if os.path.lexists(path):
        os.remove(path)
    if source.lower().endswith(('.mrc', '.map')):
        os.symlink(os.path.abspath(source), path)
    else:
        ImageHandler().convert((location[0], source), path)
    if pixel_size:
        _correct_header(path, pixel_size)


def _correct_header(path, pixel_size):
    with mrcfile.open(path, permissive=True, header_only=True) as mrc:
        if abs(float(mrc.voxel_size.x) - pixel_size) < 1e-3 * pixel_size:
            return
    source = os.path.realpath(path)
    if os.path.islink(path):
        os.remove(path)
        shutil.copyfile(source, path)
    with mrcfile.open(path, 'r+', permissive=True) as mrc:
        mrc.voxel_size = pixel_size


def own_half_maps(volume):
    """The files of a Volume's half maps, or []; those that are gone count as none."""
    names = [str(n).strip() for n in volume.getHalfMaps(asList=True)] if volume.hasHalfMaps() else []
    return names if len(names) == 2 and all(os.path.exists(n.replace(':mrc', '')) for n in names) else []


def has_half_sets(particles):
    """Whether the particles say which half set of the refinement they belong to."""
    first = particles.getFirstItem()
    return first is not None and first.hasAttribute(HALF_SET) and first.getAttributeValue(HALF_SET) in (1, 2)


def class_maps(classes):
    """{class id: Volume} of the classes of a SetOfClasses3D that have particles and a map."""
    return {c.getObjId(): c.getRepresentative().clone() for c in enabled_classes(classes) if c.hasRepresentative()}


def enabled_classes(classes):
    """The classes that are not switched off, with particles; each valid until the next one."""
    return (c for c in classes.iterItems() if c.isEnabled() and c.getSize())


def particles_of_classes(classes, path):
    """The enabled particles of all classes as one SetOfParticles at ``path`` (sqlite), with the classes' alignment."""
    cleanPath(path)
    particles = SetOfParticles(filename=path)
    particles.copyInfo(classes.getImages())
    for group in enabled_classes(classes):
        if group.hasAlignmentProj():
            particles.setAlignmentProj()
        for item in group.iterItems():
            if item.isEnabled():
                item.setClassId(group.getObjId())
                particles.append(item)
    particles.write()
    return particles
