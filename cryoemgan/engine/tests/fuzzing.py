"""What tests with random damage share: how long they try, and what counts as an answer."""

import os
import random
import resource
import time
import warnings

from cryoemgan.engine.errors import InputError

SECONDS = float(os.environ.get('CRYOEMGAN_FUZZ_SECONDS', '20'))


SHARE = {'star': 0.25, 'mrc': 0.15, 'settings': 0.1, 'options': 0.2, 'card': 0.15}


# Of one file, and of memory beyond what was in use before.
SLOWEST, LARGEST = 10.0, 2 * 2**30


VALUES = (
    None, True, 0, -1, 1, 0.5, -0.5, 1e9, -1e9, 1e29, 1e308, 2**70, 5, '', 'x', '²', '$x^2_{$', 'nan', '1e400', [], {},
    [[]], ['x'] * 30, {'a': None}, [1] * 1000, 'x' * 5000, '../../x', '\0', '\ud800', float('nan'), float('inf'),
    10**400,
)  # fmt: skip


def attempts(kind):
    """A random.Random for each attempt, as many as there is time for; the first ones are the same on each machine."""
    start, number = time.monotonic(), 0
    while number < 20 or time.monotonic() - start < SECONDS * SHARE[kind]:
        yield random.Random(f'{kind} {number}')
        number += 1


def outcome(read, what):
    """What ``read`` gives, or None when it refuses in one sentence; anything else fails the test."""
    start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            found = read()
    except InputError as e:
        found, said = None, str(e)
        assert said.strip(), what
        assert '\n' not in said.strip(), (what, said)
        assert len(said) < 1500, (what, said)
    except Exception as e:
        raise AssertionError(f'{type(e).__name__}: {e}, of {str(what)[:2000]}') from e
    assert time.monotonic() - start < SLOWEST, what
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < LARGEST, what
    return found
