"""Cheap checks of sets of particles for forms: what a set is, and whether two belong together."""

from pwem.objects import SetOfParticles

from ..constants import CTF_FULL, CTF_UNKNOWN
from ..convert import provenance_of, state_of

# The command that wrote a set's images: what they are, in the words of the forms.
KINDS = {
    'project': ('references', 'made by "project references"'),
    'denoise': ('denoised particles', 'made by "denoise particles"'),
    'filter': ('filtered particles', 'made by "filter particles"'),
}


def kind_of(particles):
    """'project', 'denoise', 'filter' or another command of the engine that made a set's images; None for others."""
    return provenance_of(particles).get('verb')


def check_noisy(particles, label):
    """Errors of a field that takes noisy particles, as they came from the microscope."""
    if not isinstance(particles, SetOfParticles):
        return []
    words, made = KINDS.get(kind_of(particles), (None, None))
    if words is None:
        return []
    return [f'*{label}* holds {words} ({made}): select the noisy particles.']


def check_references(references, label='References'):
    """Errors of a field that takes references."""
    if not isinstance(references, SetOfParticles) or kind_of(references) not in ('denoise', 'filter'):
        return []
    words, made = KINDS[kind_of(references)]
    return [f'*{label}* holds {words} ({made}): select the output of "project references".']


def check_ctf_known(references, wanted_for, label='References'):
    """Errors of references whose CTF must be known; wanted_for: what cannot be done without it."""
    if not references.hasCTF() or state_of(references) != CTF_FULL:
        return []
    if provenance_of(references).get('ctf', CTF_UNKNOWN) != CTF_UNKNOWN:
        return []
    return [
        f'*{label}* do not say what their images hold of the CTF, which {wanted_for} must know: select the output of '
        '"project references" or "simulate particles".'
    ]


def check_noise_images(noise, others):
    """Errors of noise images that are another field's set. noise: pointer or None; others: {label: pointer}."""
    if noise is None or noise.get() is None:
        return []
    return [
        f'*Noise images* and *{label}* are the same set: noise images hold no particle.'
        for label, pointer in others.items()
        if pointer.get() is not None and pointer.getUniqueId() == noise.getUniqueId()
    ]


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
