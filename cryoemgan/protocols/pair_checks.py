"""Cheap checks of two sets of particles against each other, for forms."""


def check_pairs(particles, references):
    """Cheap checks of particles against references: pixel size, box, a shared identity."""
    a, b = particles.getSamplingRate(), references.getSamplingRate()
    errors = []
    if abs(particles.getXDim() * a - references.getXDim() * b) > 0.02 * particles.getXDim() * a:
        errors.append(
            f'Particles ({particles.getXDim()} px of {a:g} Å) and references ({references.getXDim()} px of '
            f'{b:g} Å) show fields of different width: project the references for these particles.'
        )
    if not share_ids(particles, references):
        errors.append(
            'Particles and references have no particle in common (by id): take the references that were '
            'projected from these particles.'
        )
    return errors


def share_ids(a, b):
    """Whether two sets share a particle id (read from their databases, a second a million)."""
    return not a.getIdSet().isdisjoint(b.getIdSet())
