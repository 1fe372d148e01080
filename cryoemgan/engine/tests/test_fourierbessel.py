"""The basis on a disc, at boxes as large as those of particles."""

import numpy as np
import pytest
from scipy.special import jn_zeros, jv

from ..imaging.fourierbessel import FourierBessel


@pytest.mark.parametrize('box', [64, 160])
def test_the_zeros_of_bessel_functions_are_all_found(box):
    """``scipy.special.jn_zeros`` does not come to an end for some of the orders that 160 px need."""
    limit = np.pi * (box // 2)
    zeros = FourierBessel(box).zeros
    for k, found in enumerate(zeros):
        np.testing.assert_allclose(jv(k, found), 0, atol=1e-9)
        # A change of sign for each zero: none is missing, none is there twice.
        between = np.concatenate([[max(k, 0.5)], (found[1:] + found[:-1]) / 2, [limit]])
        assert (np.diff(np.sign(jv(k, between))) != 0).sum() == len(found)
    np.testing.assert_allclose(zeros[5], jn_zeros(5, len(zeros[5])), rtol=1e-10)
