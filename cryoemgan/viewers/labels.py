"""Our columns in Scipion's tables of particles: visible, beside the images, in the order of their use."""

from pwem.objects import SetOfParticles
from pwem.viewers.showj import ORDER, VISIBLE
from pwem.viewers.viewers_data import RegistryViewerConfig

from ..engine.data.scores import SCORES

# Columns that a set does not have are passed over by the viewers.
COLUMNS = [f'_{score.label}' for score in SCORES] + [
    f'_{name}'
    for name in ('cryoemganClass', 'cryoemganClassProbability', 'cryoemganAngleSpread', 'cryoemganOriginSpreadAngst',
                 'cryoemganMisfit', 'cryoemganContrast', 'rlnImageOriginalName')
]  # fmt: skip


def show_columns():
    """Add them to the labels that pwem has for sets of particles: MDViewer and the Java viewer read the same list."""
    config = RegistryViewerConfig.getConfig(SetOfParticles) or {}
    for name in (ORDER, VISIBLE):
        labels = config.get(name, 'id enabled _filename').split()
        own = [c for c in COLUMNS if c not in labels]
        place = labels.index('_filename') + 1 if '_filename' in labels else len(labels)
        config[name] = ' '.join(labels[:place] + own + labels[place:])
    RegistryViewerConfig.registerConfig(SetOfParticles, config)
