"""Files that are no particle table of RELION, named by what they are and what to do with them."""

from __future__ import annotations

import re

# Beginning of the file, and what it is.
MAGIC = (
    (b'\x93NUMPY', 'a NumPy array, as cryoSPARC writes it; give it with its ending .cs'),
    (b'\x1f\x8b', 'compressed (gzip): unpack it with gunzip first'),
    (b'PK\x03\x04', 'a zip archive: unpack it first'),
    (b'\x89HDF', 'an HDF5 file (EMAN2, or others): write a RELION STAR file of its particles'),
    (b'SQLite format 3', 'an SQLite database (Scipion, cisTEM): export its particles as a RELION STAR file'),
    (b'\x80', 'a Python pickle (of cryoDRGN?), which can execute code and is not read: write a STAR file'),
    (b'%PDF', 'a PDF'),
    (b'\xff\xfe', 'UTF-16 text (it begins with a byte order mark): save the table as UTF-8'),
    (b'\xfe\xff', 'UTF-16 text (it begins with a byte order mark): save the table as UTF-8'),
)
# Where a MRC file says what it is.
MRC_WORD = slice(208, 211)
NEEDED = 'a RELION STAR file (3.0 or 3.1) or a cryoSPARC .cs file is needed'
# Labels of other programs' tables in STAR form.
LABELS = (
    (r'_cisTEM\w*', "a table of cisTEM: export its particles to RELION (cisTEM's Refinement panel does)"),
    (r'# XMIPP_STAR_1', "a table of Xmipp (.xmd): export the set from Scipion as RELION's STAR"),
    (r'_pytom\w*|_adp\w*', 'a table of PyTom, of subtomograms'),
)


def what_is_it(head: bytes, suffix: str) -> str | None:
    """What a file is that is no STAR table, with what to do; None when it may be one.

    Parameters
    ----------
    head : bytes
        Its first few thousand.
    suffix : str
        Ending of its name.
    """
    for magic, what in MAGIC:
        if head.startswith(magic):
            return f'{what}; {NEEDED}'
    if head[MRC_WORD] == b'MAP' or (b'\0' in head and suffix.lower() in ('.mrc', '.mrcs', '.map', '.stk', '.img')):
        return f'images, not a table of particles; {NEEDED}'
    if b'\0' in head:
        return f'binary, not text; {NEEDED}'
    text = head.decode('utf-8-sig', 'replace').lstrip()
    for pattern, what in LABELS:
        if re.search(pattern, text):
            return f'{what}; {NEEDED}'
    if text.startswith(('#LST', '#LSX')):
        return f'a list of EMAN (.lst): e2proclst.py and e2refinetorelion3d.py write RELION STAR files; {NEEDED}'
    if re.match(r'C +(?:PSI|Projection)|C\s.*(?:PSI|FILM)', text) or suffix.lower() == '.par':
        return f'parameters of FREALIGN or cisTEM (.par): pyem or cisTEM write RELION STAR files; {NEEDED}'
    if text[:1] in ('{', '['):
        return f'JSON, not a table of particles; {NEEDED}'
    if not text:
        return f'empty; {NEEDED}'
    if not re.search(r'(?i)(?:^|[\r\n])\s*data_', text):
        kind = 'comma-separated values (.csv)' if re.match(r'[^\n]*,', text) else 'no STAR table: no data_ block'
        return f'{kind}; {NEEDED}'
    return None
