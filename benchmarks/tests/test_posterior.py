"""Measures of poses and classes are what they are called."""

import numpy as np
import pytest

from benchmarks.posterior import classes


def test_probabilities_are_judged_by_the_true_class():
    truth = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.7, 0.3]])
    found = classes._judged(truth, probabilities)
    assert found['accuracy'] == 0.75
    assert found['stated'] == pytest.approx(0.75)
    assert found['log_loss'] == pytest.approx(-np.log([0.9, 0.8, 0.6, 0.3]).mean())
    assert classes._judged(truth, np.eye(2)[truth])['index'] == 1
