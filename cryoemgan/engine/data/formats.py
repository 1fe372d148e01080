"""Image files of other formats: known by their first bytes, else by the end of their name, and what to do with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

CONVERT = 'convert it to MRC (e2proc2d.py and e2proc3d.py do; in Scipion the protocols convert it themselves)'
SIGNATURES = (
    (b'\x1f\x8b', 'a file compressed by gzip', 'unpack it first (gunzip)'),
    (b'BZh', 'a file compressed by bzip2', 'unpack it first (bunzip2)'),
    (b'\xfd7zXZ', 'a file compressed by xz', 'unpack it first (unxz)'),
    (b'\x28\xb5\x2f\xfd', 'a file compressed by zstd', 'unpack it first (unzstd)'),
    (b'PK\x03\x04', 'a zip archive', 'unpack it first (unzip)'),
    (b'\x89HDF\r\n\x1a\n', 'an HDF5 file (EMAN2)', CONVERT),
    (b'II*\0', 'a TIFF or EER file', CONVERT),
    (b'MM\0*', 'a TIFF file', CONVERT),
    (b'II+\0', 'a BigTIFF or EER file', CONVERT),
    (b'\x89PNG', 'a PNG picture', 'it holds no grey values of a measurement: take the MRC file'),
    (b'\xff\xd8\xff', 'a JPEG picture', 'it holds no grey values of a measurement: take the MRC file'),
    (b'\x93NUMPY', 'a numpy or cryoSPARC file (.npy, .cs)', 'images and maps of cryoSPARC are .mrc files'),
    (b'\0\0\0\x03', 'a DM3 file (Digital Micrograph)', CONVERT),
    (b'\0\0\0\x04', 'a DM4 file (Digital Micrograph)', CONVERT),
)
NAMES = {
    '.spi': 'a Spider file',
    '.stk': 'a Spider stack',
    '.xmp': 'a Spider file (Xmipp)',
    '.vol': 'a Spider volume (Xmipp)',
    '.img': 'an IMAGIC file',
    '.hed': 'an IMAGIC header',
    '.em': 'an EM file',
    '.hdf': 'an HDF5 file (EMAN2)',
    '.h5': 'an HDF5 file',
    '.tif': 'a TIFF file',
    '.tiff': 'a TIFF file',
}
# Kinds of Spider files: 2D, 3D, and the Fourier transforms of both.
SPIDER_KINDS = (1, 3, -11, -12, -21, -22)


def format_by_content(path: Path, head: bytes) -> str | None:
    """'a Spider file: convert it to ...' for a file whose first bytes (1024 of them) are not of MRC."""
    for signature, name, advice in SIGNATURES:
        if head.startswith(signature):
            return f'{name}, not MRC: {advice}'
    if _is_spider(head) and path.suffix.lower() not in ('.img', '.hed'):
        return f'a Spider file, not MRC: {CONVERT}'
    if head.lstrip().startswith((b'data_', b'# version', b'loop_')):
        return 'a text table (STAR), not images: give the MRC file'
    return None


def format_by_name(path: Path) -> str | None:
    """The same by the end of its name."""
    if path.suffix.lower() in NAMES:
        return f'{NAMES[path.suffix.lower()]}, not MRC: {CONVERT}'
    return None


def _is_spider(head: bytes) -> bool:
    """Words 1, 2 and 5 of a Spider header: slices, rows and kind, as floats of either byte order."""
    if len(head) < 20:
        return False
    for order in '<>':
        words = np.frombuffer(head, order + 'f4', 5)
        if not np.isfinite(words).all():
            continue
        slices, rows, kind = (float(words[k]) for k in (0, 1, 4))
        if kind in SPIDER_KINDS and slices == round(slices) and 1 <= abs(slices) <= 8192 and 1 <= rows <= 65536:
            return True
    return False
