"""``report``: finds a refinement's files, walks the road, resumes, and writes a page that needs nothing else."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import mrcfile
import numpy as np
import pytest

from cryoemgan.engine.__main__ import main
from cryoemgan.engine.commands.report.steps import Runner
from cryoemgan.engine.data.refinement import find_refinement
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.errors import InputError
from cryoemgan.engine.settings.road import AUDIT, OPINION

from .steps_here import steps_here

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures('one_thread')]


@pytest.fixture(scope='module')
def job(tmp_path_factory):
    """The folder of a refinement as RELION leaves it: 60 particles of a phantom, both half maps the true one."""
    folder = tmp_path_factory.mktemp('project') / 'Refine3D' / 'job012'
    simulate = f'simulate --phantom 1 --count 60 --box 32 --pixel-size 6 --snr 0.3 --ctf --output {folder / "made"}'
    assert main([*simulate.split(), '--threads', '1']) == 0
    made = ParticleTable.read(folder / 'made' / 'noisy.star')
    made.relocate(folder)
    made.write(folder / 'run_data.star')
    with mrcfile.open(folder / 'made' / 'volume_1.mrc') as mrc:
        volume = np.array(mrc.data)
    rng = np.random.default_rng(0)
    for name in ('class001', 'half1_class001_unfil', 'half2_class001_unfil'):
        with mrcfile.new(folder / f'run_{name}.mrc') as mrc:
            mrc.set_data(volume + np.float32(0.1 * volume.std()) * rng.normal(size=volume.shape).astype(np.float32))
            mrc.voxel_size = 6.0
    (folder / 'options.json').write_text('{"bank_size": 100, "iterations": 3}')
    return folder


def command(job, output, *more):
    return ['report', '--refinement', str(job), '--output', str(output), '--threads', '1', '--minutes', '0.02',
            '--train-settings', str(job / 'options.json'), *more]  # fmt: skip


@pytest.fixture(scope='module', autouse=True)
def here():
    """Only the run that is stopped starts its steps as a user's does."""
    with steps_here():
        yield


@pytest.fixture(scope='module')
def report(job, tmp_path_factory):
    """A finished report, stopped once on its way and resumed."""
    output = tmp_path_factory.mktemp('report') / 'out'
    child = subprocess.Popen(
        [sys.executable, '-m', 'cryoemgan.engine', *command(job, output)], stderr=subprocess.PIPE, text=True
    )
    while not (output / '2_train_trained' / 'settings.json').exists():
        assert child.poll() is None, child.stderr.read()
        time.sleep(0.05)
    child.send_signal(signal.SIGTERM)
    said = child.communicate()[1]
    assert child.returncode == 1
    assert 'stopped by SIGTERM' in said
    assert not (output / 'summary.json').exists()
    assert main(command(job, output, '--resume')) == 0
    return output


def test_the_road_ends_with_kept_and_rejected_originals(job, report):
    summary = json.loads((report / 'summary.json').read_text())
    source = ParticleTable.read(job / 'run_data.star')
    parts = [report / '9_selection' / f'{name}.star' for name in ('kept', 'rejected')]
    ids = [i for p in parts if p.exists() for i in ParticleTable.read(p).ints('rlnImageId')]
    assert sorted(ids) == sorted(source.ints('rlnImageId'))
    assert summary['selection']['kept'] + summary['selection']['rejected'] == 60
    references = ParticleTable.read(report / '1_references' / 'references.star')
    assert references.provenance['half_maps'] == 'yes'
    assert len(summary['steps']) == 10
    audits = [json.loads((report / folder / 'summary.json').read_text()) for folder in AUDIT.values()]
    assert all(audit['second_opinion']['agreement'] for audit in audits)
    # Every command that makes images shows them.
    makers = [report / s['folder'] for s in summary['steps'] if 'audit' not in s['folder']] + [job / 'made']
    assert all((folder / 'gallery.html').exists() for folder in makers)


def test_the_page_needs_nothing_else(report):
    page = (report / 'report.html').read_text()
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert page.count('src="data:image/png') >= 4
    verdict = json.loads((report / 'report.json').read_text())['verdict']
    assert any('never saw the map' in sentence for sentence in verdict['sentences'])
    assert page.index(verdict['colour'].upper()) < page.index('What to do next') < page.index('id="steps"')
    # The scores of the gallery are those of the tables.
    shown = json.loads(re.search(r'const g = (\{.*?\}), root', page, re.S)[1])
    values = next(x['values'] for x in shown['scores'] if x['name'] == 'fit')
    fit = dict(zip(shown['labels'], values))
    table = ParticleTable.read(report / '5_denoised_guided' / 'denoised.star')
    truth = dict(zip(table.ints('rlnImageId'), table.floats('cryoemganFit')))
    assert len(fit) == 60
    assert all(abs(truth[int(k)] - v) < 1e-3 for k, v in fit.items())


def test_its_commands_are_true(report):
    """A step repeated by hand with the command on the page gives the same."""
    step = json.loads((report / 'report.json').read_text())['steps'][-1]
    words = step['command'].split()
    words[words.index('--output') + 1] = str(report / 'again')
    assert words[0] == 'cryoemgan'
    assert main(words[1:]) == 0
    a, b = ((p / 'kept.star').read_text() for p in (report / '9_selection', report / 'again'))
    assert a == b


def test_what_is_done_is_not_done_again(job, report):
    step = report / '2_train_trained' / 'summary.json'
    before = step.stat().st_mtime_ns
    (report / 'summary.json').unlink()
    (report / '9_selection' / 'summary.json').unlink()
    assert main(command(job, report, '--resume')) == 0
    assert step.stat().st_mtime_ns == before
    assert (report / '9_selection' / 'summary.json').exists()


def test_wrong_pairs_stop_the_road(job, tmp_path, capsys):
    """Particles with the angles of others: nothing is trained, and the page says so first."""
    table = ParticleTable.read(job / 'run_data.star')
    for label in ('rlnAngleRot', 'rlnAngleTilt', 'rlnAnglePsi'):
        table.set(label, np.roll(table.floats(label), 7))
    table.relocate(tmp_path)
    table.write(tmp_path / 'shuffled.star')
    given = command(job, tmp_path / 'out', '--particles', str(tmp_path / 'shuffled.star'))
    assert main(given) == 0
    page = (tmp_path / 'out' / 'report.html').read_text()
    assert 'RED: Particles and map do not belong together' in page
    assert not (tmp_path / 'out' / '2_train_trained').exists()


def test_particles_that_no_map_free_network_takes_get_all_but_the_second_opinion(job, tmp_path, capsys, monkeypatch):
    run = Runner.run

    def refuse(self, step):
        if step.folder == OPINION:
            raise InputError('step 3_second_opinion: no signal above the noise')
        return run(self, step)

    monkeypatch.setattr(Runner, 'run', refuse)
    assert main(command(job, tmp_path / 'out')) == 0
    assert 'the audits have no second opinion: step 3_second_opinion: no signal' in capsys.readouterr().out
    audit = json.loads((tmp_path / 'out' / AUDIT['guided'] / 'summary.json').read_text())
    assert audit['second_opinion'] is None
    found = json.loads((tmp_path / 'out' / 'report.json').read_text())
    assert not any('never saw the map' in sentence for sentence in found['verdict']['sentences'])
    assert any('--target self' in sentence for sentence in found['next'])


def test_files_of_a_refinement_are_found(tmp_path, shared_data, monkeypatch):
    """RELION's own result, and its mask: in the optimiser, else in a post-processing."""
    job = tmp_path / 'Refine3D' / 'job012'
    job.mkdir(parents=True)
    for path in (shared_data / 'relion_refined').glob('run_*'):
        os.symlink(path, job / path.name)
    found = find_refinement(job)
    assert found.half1.name == 'run_half1_class001_unfil.mrc'
    assert found.resolution == pytest.approx(11.0769, abs=1e-3)
    frequency, fsc = found.fsc
    assert fsc[0] == pytest.approx(1, abs=1e-3)
    assert frequency[-1] == pytest.approx(1 / 9, rel=0.05)
    assert found.mask is None
    (tmp_path / 'MaskCreate').mkdir()
    (tmp_path / 'MaskCreate' / 'mask.mrc').touch()
    post = tmp_path / 'PostProcess' / 'job013'
    post.mkdir(parents=True)
    options = 'fn_in Refine3D/job012/run_half1_class001_unfil.mrc\nfn_mask MaskCreate/mask.mrc\n'
    head = 'data_joboptions_values\nloop_\n_rlnJobOptionVariable\n_rlnJobOptionValue\n'
    (post / 'job.star').write_text(head + options)
    assert find_refinement(job).mask == tmp_path / 'MaskCreate' / 'mask.mrc'
    monkeypatch.chdir(tmp_path)
    assert find_refinement('Refine3D/job012').mask.resolve() == (tmp_path / 'MaskCreate' / 'mask.mrc').resolve()
    (job / 'run_optimiser.star').write_text('data_optimiser_general\n_rlnSolventMaskName MaskCreate/mask.mrc\n')
    assert 'mask of the refinement' in find_refinement(job).said[0]


@pytest.mark.parametrize(
    ('names', 'words'),
    [
        (['run_it012_data.star'], 'has not finished'),
        ([], 'no run_data.star'),
        (['run_data.star', 'run_half1_class001_unfil.mrc'], 'neither run_class001.mrc nor both half maps'),
    ],
)
def test_no_refinement(tmp_path, names, words):
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=words):
        find_refinement(tmp_path)


def test_another_table_is_not_taken_for_that_of_a_refinement(tmp_path):
    (tmp_path / 'picked.star').write_text('data_\n')
    with pytest.raises(InputError, match=r'picked.star: the table of a refinement.*--particles'):
        find_refinement(tmp_path / 'picked.star')
