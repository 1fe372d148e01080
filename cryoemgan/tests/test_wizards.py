"""The wizards: reachable from the form, and right without a display."""

import os

import numpy as np
import pytest
import pyworkflow as pw
from pwem.objects import SetOfParticles, Volume, VolumeMask
from pyworkflow.object import Float
from pyworkflow.viewer import DESKTOP_TKINTER

from cryoemgan import protocols, wizards
from cryoemgan.engine.data.scores import BY_NAME
from cryoemgan.tests import data
from cryoemgan.wizards import box, gpus, limit, mask, minutes


@pytest.fixture
def scored(tmp_path):
    """Particles with a fit, in a "select particles" form."""
    source = data.make_particles(tmp_path, count=40)
    path = str(tmp_path / 'scored.sqlite')
    particles = SetOfParticles(filename=path)
    particles.copyInfo(source)
    for k, item in enumerate(source.iterItems()):
        item._cryoemganFit = Float(k / 40)
        particles.append(item)
    particles.write()
    protocol = protocols.CryoEMGANProtSelect()
    protocol.inputParticles.set(particles)
    return protocol


@pytest.mark.parametrize(
    ('name', 'fields'),
    [
        ('Project', ['lowpass', 'inputMask', 'machineGpus']),
        ('Report', ['inputMask', 'minutes', 'machineGpus']),
        ('Train', ['box', 'minutes', 'machineGpus']),
        ('Select', ['fit', 'evidence', 'correlation', 'uncertainty', 'poseDisagreement', 'poseFit', 'otherState']),
        ('Denoise', ['machineGpus']),
        ('Filter', []),
    ],
)
def test_every_wizard_has_its_place_in_a_form(name, fields):
    protocol = getattr(protocols, f'CryoEMGANProt{name}')()
    found = pw.Config.getDomain().findWizards(protocol, DESKTOP_TKINTER)
    assert sorted(k for k, v in found.items() if v.__module__.startswith(wizards.__name__)) == sorted(fields)
    shown = [n for n, _ in protocol._definition.iterAllParams()]
    assert not set(fields) - set(shown)


def test_limit_on_its_histogram(scored):
    score = BY_NAME['fit']
    values = limit.values_of(scored, score)
    np.testing.assert_allclose(values, np.arange(40) / 40)
    assert limit.values_of(scored, BY_NAME['evidence']) is None
    for text, kept in (('', 'kept: 38'), ('0.5', 'kept: 20'), ('10%', 'kept: 36')):
        figure = limit.histogram(scored, score, values, text)
        assert kept in [t.get_text() for t in figure.axes[0].get_legend().get_texts()]
    with pytest.raises(ValueError, match='many'):
        limit.histogram(scored, score, values, 'many')


def test_mask_on_the_map(tmp_path):
    protocol = protocols.CryoEMGANProtProject()
    with pytest.raises(ValueError, match='Select the refined map and the mask'):
        mask.picture(protocol)
    protocol.inputVolume.set(Volume(location=(1, data.write_map(str(tmp_path / 'map.mrc')))))
    protocol.inputMask.set(VolumeMask(location=(1, data.write_map(str(tmp_path / 'mask.mrc')))))
    assert 'power of the map' in mask.picture(protocol).get_suptitle()
    protocol.inputMask.set(VolumeMask(location=(1, data.write_map(str(tmp_path / 'small.mrc'), 16))))
    with pytest.raises(ValueError, match='The mask has 16 px, the map 32 px'):
        mask.picture(protocol)


def test_boxes_of_the_particles(tmp_path):
    found = box.boxes(data.make_particles(tmp_path, count=2, box=128))
    assert [size for size, _ in found] == [128, 96, 64]
    assert found[0][1].endswith('detail down to 12.0 Å')
    assert [size for size, _ in box.boxes(data.make_particles(tmp_path, count=2, box=32))] == [32]


def test_gpus_are_those_of_nvidia_smi(tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(RuntimeError, match='no NVIDIA driver'):
        gpus.list_gpus()
    program = tmp_path / 'nvidia-smi'
    program.write_text('#!/bin/sh\necho "0, NVIDIA H200, 143771 MiB, 3 MiB, 0 %"\necho "2, Old, 8 MiB, 1 MiB, 90 %"\n')
    program.chmod(0o755)
    assert [number for number, _ in gpus.list_gpus()] == ['0', '2']
    assert gpus.list_gpus()[0][1] == '0: NVIDIA H200, 143771 MiB, 3 MiB and 0 % in use'
    program.write_text('#!/bin/sh\nexit 9\n')
    with pytest.raises(RuntimeError, match='does not answer'):
        gpus.list_gpus()


def test_minutes_are_measured(tmp_path):
    """On this machine, with the form's own network."""
    train = protocols.CryoEMGANProtTrain()
    train.inputParticles.set(data.make_particles(tmp_path, count=10, box=32))
    train.useGpu.set(False)
    train.batchSize.set(8)
    pace = minutes.measure(train)
    assert pace.particles > 100
    lines = pace.lines(10)
    assert [m for m, _ in lines] == list(minutes.OFFERED)
    assert f'{pace.particles * 5:,.0f} particles' in lines[1][1]
    train.batchSize.set(0)
    with pytest.raises(RuntimeError, match='batch'):
        minutes.measure(train)
    assert not [p for p in os.listdir(tmp_path) if p.startswith('cryoemgan-pace')]
