"""Names of images as RELION spells them: ``000001@stack.mrcs``, or ``image.mrc`` for a file of one image."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator

# Xmipp and Scipion say how a file is to be read after its name: ``stack.mrc:mrcs``.
FORMAT = re.compile(r':(?:mrcs?|map|st|ali|stk|spi|xmp|vol|img|hed|hdf|h5|tiff?|em|raw)$')


def split_image_name(name: str) -> tuple[int, str] | None:
    """(index from 1, stack) of ``000001@stack.mrcs``; None when it is not of that form.

    cryoSPARC writes > before paths of its projects: it is no part of the name.
    """
    found = re.fullmatch(r'0*([1-9]\d{0,9})@>?(.+)', name)
    return (int(found[1]), found[2]) if found else None


def image_place(name: str) -> tuple[int, str] | None:
    """(index from 1, file) of an image name; a name without @ is a file of one image. None when it is neither."""
    return split_image_name(name) or ((1, name) if name and '@' not in name else None)


def without_format(path: str) -> str:
    """A file name without the format that Xmipp and Scipion add to it."""
    return FORMAT.sub('', path)


def normalised_names(names: Iterable[str]) -> Iterator[str]:
    """Image names in one spelling: ``1@./a.mrcs``, ``000001@a.mrcs`` and ``1@a.mrcs:mrcs`` are the same image."""
    known = dict[str, str]()
    for name in names:
        place = image_place(name)
        if place and place[1] not in known:
            known[place[1]] = os.path.normpath(without_format(place[1]))
        yield f'{place[0]}@{known[place[1]]}' if place else name
