"""What the plugin adds to Scipion's objects."""

import hashlib
import json
from pathlib import Path

from pwem.objects import EMObject
from pyworkflow.object import Float, Integer, String

from .constants import CTF_UNKNOWN

CARD = 'card.json'


class DenoiserModel(EMObject):
    """A trained denoiser: a folder with weights and a card, and what the card says of it.

    The folder is stored relative to the project, so that a project can be moved.
    """

    def __init__(self, folder=None, **kwargs):
        super().__init__(**kwargs)
        self._folder = String(folder)
        self._digest = String()
        self._network = String()
        self._box = Integer()
        self._pixelSize = Float()
        self._ctf = String()
        self._mse = Float()
        self._psnr = Float()
        self._ssim = Float()

    @classmethod
    def fromFolder(cls, folder):
        """The model in a folder written by ``train``; ValueError when it is not one."""
        card = read_card(folder)
        model = cls(folder=str(folder))
        model._digest.set(_digest(folder))
        model._network.set(_name(card['network']))
        model._box.set(int(card['box']))
        model._pixelSize.set(float(card['pixel_size']))
        model._ctf.set(card.get('ctf') or CTF_UNKNOWN)
        for name in ('mse', 'psnr', 'ssim'):
            value = (card.get('metrics') or {}).get(name)
            if value is not None:
                getattr(model, f'_{name}').set(float(value))
        return model

    def getFolder(self):
        """Folder of the model, relative to the project."""
        return self._folder.get()

    def getDigest(self):
        """What identifies the model: sha256 of its card; None in projects of earlier versions."""
        return self._digest.get()

    def isReplaced(self):
        """Whether the folder holds another model by now, or none: its training was started again."""
        if not (Path(self.getFolder()) / CARD).exists():
            return True
        return self._digest.hasValue() and self.getDigest() != _digest(self.getFolder())

    def getBox(self):
        """Box at which it was trained, px."""
        return self._box.get()

    def getPixelSize(self):
        """Pixel size at which it was trained, A."""
        return self._pixelSize.get()

    def getCtfState(self):
        """What its references held of the CTF: 'none', 'phase-flip', 'full' or 'unknown'."""
        return self._ctf.get()

    def getNetwork(self):
        """Name of the network."""
        return self._network.get()

    def getKind(self):
        """What it knows of the map: 'guided by the map', 'trained on the map' or 'map-free'."""
        if read_card(self.getFolder()).get('target', 'references') != 'references':
            return 'map-free'
        return 'guided by the map' if self.getNetwork() == 'guided' else 'trained on the map'

    def getFiles(self):
        """Files that belong to it (for copying a run)."""
        folder = Path(self.getFolder())
        return {str(p) for p in folder.rglob('*') if p.is_file()}

    def __str__(self):
        text = f'DenoiserModel ({self._network}, {self._box} px, {self._pixelSize.get(0):.2f} Å/px'
        if self._psnr.hasValue():
            text += f', validation PSNR {self._psnr.get():.1f} dB'
        return text + ')'


def read_card(folder):
    """The card of a model folder; ValueError says why it is none."""
    path = Path(folder) / CARD
    try:
        card = json.loads(path.read_text(encoding='utf-8'))
    except FileNotFoundError as e:
        raise ValueError(
            f'{folder} is not a model folder: it has no {CARD}. Select the folder "model" that a training run wrote.'
        ) from e
    except (OSError, ValueError) as e:
        raise ValueError(f'{path} cannot be read: {e}') from e
    missing = [k for k in ('network', 'box', 'pixel_size') if k not in (card if isinstance(card, dict) else {})]
    if missing:
        raise ValueError(f'{path} lacks {", ".join(missing)}: it was not written by this program')
    return card


def _digest(folder):
    """Of the card, which names all other files with theirs."""
    return hashlib.sha256((Path(folder) / CARD).read_bytes()).hexdigest()


def _name(network):
    return network['name'] if isinstance(network, dict) else str(network)
