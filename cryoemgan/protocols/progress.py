"""What a running command says of its progress: the last bar in its log."""

import os
import re

# What tqdm writes: "denoising:  45%|####5     | 450/1000 [00:10<00:12, 44.9it/s]".
BAR = re.compile(r'([^\r\n|]+): +(\d+)%\|[^|\r\n]*\| *\d+/\d+ \[[\d:]+<([\d:?]+)')
TAIL = 8192


def describe_progress(log):
    """'denoising: 45 % done, about 00:12 to go', from the end of a log; None when there is no bar in it."""
    try:
        with open(log, 'rb') as f:
            f.seek(max(0, os.path.getsize(log) - TAIL))
            found = BAR.findall(f.read().decode('utf-8', 'replace'))
    except OSError:
        return None
    if not found:
        return None
    name, percent, left = found[-1]
    to_go = f', about {left} to go' if '?' not in left and percent != '100' else ''
    return f'{name.strip()}: {percent} % done{to_go}'
