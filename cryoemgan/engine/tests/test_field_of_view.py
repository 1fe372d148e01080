"""Mass of a map that images cut off: said, or refused."""

from pathlib import Path

import numpy as np
import pytest

from ..__main__ import run
from ..errors import InputError
from ..imaging.field_of_view import cut_mass, cut_off
from ..imaging.maps import Map, write_map
from ..settings.simulate import Simulate

BOX, PIXEL = 48, 4.0


def bar(length):
    """A bar along x of so many px, 10 px thick, blurred by nothing."""
    x = np.abs(np.arange(BOX) - BOX // 2)
    inside = (x <= 5)[:, None, None] & (x <= 5)[:, None] & (x <= length / 2)
    return Map(inside.astype(np.float32), PIXEL, Path('bar.mrc'))


def test_share_outside_is_that_of_the_bar():
    # Of a bar of 40 px a circle of 30 px cuts a quarter off, and a little of its corners.
    outside, needed = cut_mass(bar(40), 30 * PIXEL)
    assert outside == pytest.approx(0.27, abs=0.04)
    assert needed == pytest.approx(41 * PIXEL, rel=0.06)
    assert cut_mass(bar(20), 30 * PIXEL)[0] < 0.005
    assert cut_off([bar(20)], 30, PIXEL)[1] is None
    outside, said = cut_off([bar(20), bar(40)], 30, PIXEL)
    assert f'{outside:.0%} of the mass' in said


def test_simulate_says_what_a_small_box_cuts_off(tmp_path, capsys):
    write_map(tmp_path / 'v.mrc', bar(40).data, PIXEL)
    given = dict(volume=[str(tmp_path / 'v.mrc')], count=4, threads=1, pixel_size=PIXEL)
    run('simulate', Simulate(output=str(tmp_path / 'a'), box=32, **given))
    assert 'of the mass lies outside' in capsys.readouterr().out
    run('simulate', Simulate(output=str(tmp_path / 'b'), box=48, **given))
    assert 'of the mass lies outside' not in capsys.readouterr().out
    with pytest.raises(InputError, match='of the mass lies outside'):
        run('simulate', Simulate(output=str(tmp_path / 'c'), box=16, **given))
