"""Names of images as RELION spells them: ``000001@stack.mrcs``."""

import os
import re


def split_image_name(name):
    """('index from 1', stack) of ``000001@stack.mrcs``; None when it is not of that form."""
    found = re.fullmatch(r'0*([1-9]\d{0,9})@(.+)', name)
    return (int(found[1]), found[2]) if found else None


def normalised_names(names):
    """Image names in one spelling: ``1@./a.mrcs`` and ``000001@a.mrcs`` are the same image."""
    split = (split_image_name(n) for n in names)
    return [f'{s[0]}@{os.path.normpath(s[1])}' if s else n for n, s in zip(names, split)]
