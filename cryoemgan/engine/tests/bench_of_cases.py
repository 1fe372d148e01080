"""Runs commands on small inputs of laboratories, and says what came of it."""

import json
import re

import mrcfile
import numpy as np

from ..__main__ import main
from ..commands import train as train_command
from ..data.table import ParticleTable
from ..job import Job
from ..settings.train import Train

# Correlation of references with the truth, which is stored as float16 and was drawn by other code.
RIGHT = 0.998


class Bench:
    """Runs commands on a case and says what came of it."""

    def __init__(self, shared, name, folder, capsys):
        self.base, self.case = shared / 'cases' / '_base', shared / 'cases' / name
        self.folder, self.capsys, self.runs = folder, capsys, 0
        self.star = self.case / 'p.star'
        self.good = folder / 'base.star'
        # The good table: a case whose only fault is the spelling of an optics group.
        text = (shared / 'cases' / 'A14_001' / 'p.star').read_text()
        text = re.sub(r'(?m)^(\S+@\S+ \S+ \S+ \S+) 001 ', r'\1 1 ', text).replace(
            'opticsGroup1 001 ', 'opticsGroup1 1 '
        )
        self.good.write_text(text.replace('@_base/', f'@{self.base}/'))

    def run(self, command, *options):
        """(exit status, what was said, folder of the run)."""
        self.runs += 1
        output = self.folder / f'run{self.runs}'
        self.capsys.readouterr()
        status = main([command, *map(str, options), '--output', str(output), '--threads', '1'])
        said = self.capsys.readouterr()
        assert 'inside the program' not in said.err
        assert 'Traceback' not in said.err
        # What is said of a case is not the name of its folder.
        return status, (said.out + said.err).replace(str(self.case), ''), output

    def project(self, star=None, volume=None, *options):
        """(exit status, warnings or error, folder) of ``project``."""
        volume = volume or self.base / 'map.mrc'
        status, said, output = self.run('project', '--particles', star or self.star, '--volume', volume, *options)
        if not status:
            said = '\n'.join(json.loads((output / 'summary.json').read_text())['warnings'])
        return status, said.replace(str(self.case), ''), output

    def truth(self, count=None):
        """Projections with their CTF, float32 [count, 32, 32]."""
        return mrcfile.read(self.base / 'clean.mrcs')[:count].astype(np.float32)

    def right(self, star=None, volume=None, truth=None, quiet=True, options=()):
        """``project`` makes the true references, and warns of nothing."""
        status, said, output = self.project(star, volume, *options)
        assert status == 0, said
        found = mrcfile.read(output / 'references.mrcs')
        truth = self.truth(len(found)) if truth is None else truth
        assert correlations(found, truth).min() > RIGHT
        assert not (quiet and said), said
        assert len(ParticleTable.read(output / 'references.star')) == len(truth)
        return output

    def refused(self, *words, star=None, volume=None):
        """``project`` refuses the input in these words (regular expressions)."""
        status, said, _ = self.project(star, volume)
        assert status == 2
        for word in words:
            assert re.search(word, said, re.IGNORECASE), said

    def said(self, *words, star=None, volume=None):
        """``project`` warns or refuses in these words."""
        status, said, _ = self.project(star, volume)
        assert status in (0, 2)
        for word in words:
            assert re.search(word, said, re.IGNORECASE), said

    def pairs(self, star, references, **options):
        """(what ``train`` found, its warnings), checks only."""
        settings = Train(output=str(self.folder / 'train'), particles=str(star), references=str(references), threads=1,
                         batch_size=4, **options).filled()  # fmt: skip
        job = Job('train', settings)
        return train_command.load_inputs(settings, job), ' '.join(job.warnings)


def correlations(a, b):
    a, b = (x - x.mean((1, 2), keepdims=True) for x in (a.astype(np.float64), b.astype(np.float64)))
    return (a * b).sum((1, 2)) / np.sqrt((a**2).sum((1, 2)) * (b**2).sum((1, 2)))
