"""Maps and classes of a form, looked at before anything runs: sentences about what is wrong."""

from .base import describe_alignment_error
from .map_input import class_maps, enabled_classes


def check_maps(maps, particles, mask=None):
    """What is wrong with Volumes (the first and others of the same kind) for these particles, and a mask for them."""
    first = maps[0]
    if not all(m.getSamplingRate() for m in [*maps, particles]):
        return ['The map or the particles have no pixel size: import them with it.']
    errors = _sizes(first, particles, mask)
    for other in maps[1:]:
        if other.getDim() != first.getDim() or abs(other.getSamplingRate() / first.getSamplingRate() - 1) > 1e-3:
            errors.append(f'{other.getFileName()} has another box or pixel size than {first.getFileName()}.')
    return errors


def _sizes(volume, particles, mask):
    box, field = volume.getDim(), particles.getXDim() * particles.getSamplingRate()
    if not box:
        return []
    if len(set(box)) > 1:
        return [f'The map has a box of {box[0]} x {box[1]} x {box[2]}: a cube is needed.']
    errors, of_map = [], box[0] * volume.getSamplingRate()
    if not 0.5 <= of_map / field <= 4:
        errors.append(
            f'The map is {of_map:.0f} Å wide, the particles {field:.0f} Å: these do not belong together, or a pixel '
            f'size is wrong (map {volume.getSamplingRate():g}, particles {particles.getSamplingRate():g} Å/px).'
        )
    if mask is not None and mask.getDim() and tuple(mask.getDim()) != tuple(box):
        errors.append(f'The mask has a box of {mask.getDim()[0]} px, the map {box[0]} px.')
    return errors


def check_classes(classes):
    """What is wrong with a SetOfClasses3D whose maps are to be projected."""
    without = sorted({c.getObjId() for c in enabled_classes(classes)} - set(class_maps(classes)))
    if without:
        return [f'Class {", ".join(map(str, without))} has particles but no map: switch it off.']
    first = classes.getFirstItem()
    return [] if first.hasAlignmentProj() else [describe_alignment_error(first)]
