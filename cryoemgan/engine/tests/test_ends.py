"""Ends are orderly: what hangs, what a name may hold, and what a resumed run knows of its input."""

import json
import os
import resource
import shutil
import subprocess
import sys

import mrcfile
import numpy as np
import pytest

from cryoemgan.engine.__main__ import main
from cryoemgan.engine.data.stack_writer import ResumableStack
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.files import read_state, write_state

from . import test_project, toypairs
from .test_going_on import data, options, without_time  # noqa: F401
from .test_resume import ENVIRONMENT


def engine(*arguments, **how):
    """(exit status, what was said as an error) of a command in its own process."""
    process = subprocess.run(
        [sys.executable, '-m', 'cryoemgan.engine', *arguments],
        env=ENVIRONMENT, capture_output=True, timeout=60, check=False, **how,
    )  # fmt: skip
    return process.returncode, process.stderr.decode(errors='replace').strip()


def test_pipes_in_place_of_files_do_not_hang(tmp_path, data, capsys):  # noqa: F811
    os.mkfifo(tmp_path / 'pipe.mrcs')
    table = ParticleTable.create(tmp_path / 'p.star', {'rlnImageName': ['1@pipe.mrcs'], 'rlnPixelSize': [1.0]})
    table.write(tmp_path / 'p.star')
    for arguments in (
        ['filter', '--particles', tmp_path / 'p.star'],
        ['filter', '--particles', tmp_path / 'pipe.mrcs'],
        ['filter', '--settings', tmp_path / 'pipe.mrcs'],
        ['project', '--particles', data[0], '--volume', '/dev/zero'],
        ['denoise', '--particles', data[0], '--model', tmp_path / 'pipe.mrcs'],
    ):
        assert main([*map(str, arguments), '--output', str(tmp_path / 'o')]) == 2
        assert capsys.readouterr().err.startswith('cryoemgan: ')


@pytest.mark.parametrize('name', ['settings.json', 'summary.json', 'kept.star.partial', 'checkpoints/last.pt'])
def test_pipes_in_place_of_state_do_not_hang(tmp_path, data, capsys, name, one_thread):  # noqa: F811
    """What lies in a result folder, or beside an input, is looked for by its name."""
    run = ['filter', '--particles', str(data[0]), '--output', str(tmp_path / 'o')]
    assert main(run) == 0
    pipe = tmp_path / 'o' / name
    pipe.unlink(missing_ok=True)
    pipe.parent.mkdir(exist_ok=True)
    os.mkfifo(pipe)
    for more in ('--resume', '--overwrite'):
        capsys.readouterr()
        assert main([*run, more]) == 2
        assert name.rsplit('/')[-1] in capsys.readouterr().err
    # A result without its summary is none; one without settings is some other program's.
    again = main(['filter', '--particles', str(tmp_path / 'o/denoised.star'), '--output', str(tmp_path / 'p')])
    assert again == (2 if name == 'summary.json' else 0)


def test_names_that_are_no_text(tmp_path):
    """A folder named in Latin-1 on a system of UTF-8."""
    folder = os.fsencode(tmp_path) + b'/jos\xe9'
    os.mkdir(folder)
    toypairs.pairs(tmp_path / 'p', count=8, box=16)
    for name in ('particles.star', 'particles.mrcs'):
        shutil.copy(tmp_path / 'p' / name, folder + b'/' + name.encode())
    status, said = engine('filter', '--particles', folder + b'/particles.star', '--method', 'nlm', '--threads', '1',
                          '--output', folder + b'/o')  # fmt: skip
    assert (status, 'Traceback' in said) == (0, False), said
    with open(folder + b'/o/summary.json') as file:
        assert json.load(file)['particles'] == 8
    # A table elsewhere would have to name the stack by its whole path.
    status, said = engine('originals', '--particles', folder + b'/o/denoised.star', '--source',
                          folder + b'/particles.star', '--output', tmp_path / 'originals')  # fmt: skip
    assert status == 2
    assert 'is not UTF-8' in said
    status, said = engine('filter', '--particles', folder + b'/none.star', '--output', folder + b'/o')
    assert status == 2
    assert 'does not exist' in said


def interrupt_project(monkeypatch, command):
    """Stop a command after its first batch."""
    append = ResumableStack.append

    def dying(self, images, values):
        append(self, images, values)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ResumableStack, 'append', dying)
        assert main(command) == 1


def other_value(star, label):
    table = ParticleTable.read(star)
    table.set(label, table.floats(label) * 1.001)
    table.write(star)


def other_order(star):
    table = ParticleTable.read(star)
    table.kept(np.arange(len(table))[::-1]).write(star)


def other_pixel(path, *place):
    with mrcfile.open(path, 'r+') as mrc:
        mrc.data[place] += 1e-3


@pytest.mark.parametrize(
    ('name', 'change'),
    [
        ('p.star', lambda f: other_value(f / 'p.star', 'rlnAngleTilt')),
        ('p.star', lambda f: other_value(f / 'p.star', 'rlnDefocusU')),
        ('p.star', lambda f: other_order(f / 'p.star')),
        ('images of', lambda f: other_pixel(f / 'particles.mrcs', 20, 3, 3)),
        ('half2.mrc', lambda f: other_pixel(f / 'half2.mrc', 3, 3, 3)),
    ],
)
def test_resume_knows_its_input(tmp_path, data, capsys, monkeypatch, name, change, one_thread):  # noqa: F811
    star, volume, _ = data
    for path in (star, star.with_name('particles.mrcs'), volume):
        shutil.copy(path, tmp_path)
    table = ParticleTable.read(tmp_path / 'p.star')
    for label, value in (('rlnDefocusU', 1e4), ('rlnVoltage', 300), ('rlnSphericalAberration', 2.7),
                         ('rlnAmplitudeContrast', 0.1), ('rlnRandomSubset', 1)):  # fmt: skip
        table.set(label, np.full(len(table), value))
    table.write(tmp_path / 'p.star')
    halves = [tmp_path / f'half{h}.mrc' for h in (1, 2)]
    for k, half in enumerate(halves):
        rng = np.random.default_rng(k)
        map_ = mrcfile.read(volume)
        test_project.write_map(half, map_ + 0.05 * map_.std() * rng.normal(size=map_.shape))
    command = ['project', '--particles', str(tmp_path / 'p.star'), '--half1', str(halves[0]), '--half2',
               str(halves[1]), '--output', str(tmp_path / 'o'), '--batch-size', '5', '--threads', '1']  # fmt: skip
    interrupt_project(monkeypatch, command)
    change(tmp_path)
    assert main([*command, '--resume']) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert name in said
    assert 'has changed since' in said


@pytest.mark.parametrize('command', ['project', 'denoise', 'filter'])
def test_other_threads_are_refused_where_they_decide_the_last_digit(tmp_path, data, capsys, command, monkeypatch):  # noqa: F811
    arguments = [*options(command, data), '--output', str(tmp_path / 'o')]
    interrupt_project(monkeypatch, arguments)
    assert main([*arguments, '--resume', '--threads', '2']) == 2
    assert '--threads was 1 in the interrupted run and is 2 now' in capsys.readouterr().err
    # Earlier versions wrote 0 for all that there were.
    held = read_state(tmp_path / 'o/settings.json')
    write_state(tmp_path / 'o/settings.json', {**held, 'settings': {**held['settings'], 'threads': 0}})
    assert main([*arguments, '--resume', '--threads', '1']) == 0
    assert 'did not say how many it used' in json.loads((tmp_path / 'o/summary.json').read_text())['warnings'][0]
    # Every core there is: the number is known when another machine goes on.
    assert main([*arguments, '--overwrite', '--threads', '0']) == 0
    assert json.loads((tmp_path / 'o/settings.json').read_text())['settings']['threads'] > 0


def test_a_training_can_become_longer_not_shorter(tmp_path, capsys, one_thread):
    particles, references = toypairs.pairs(tmp_path, count=40, box=32)
    table = ParticleTable.read(particles)
    table.set('rlnRandomSubset', np.arange(40) % 5)
    table.write(particles)
    command = ['train', '--particles', str(particles), '--references', str(references), '--output',
               str(tmp_path / 'o'), '--threads', '1', '--batch-size', '4', '--evaluations', '1']  # fmt: skip
    assert main([*command, '--iterations', '3']) == 0
    said = capsys.readouterr().out
    # Half sets 0, 3 and 4 belong to no fold model.
    assert '24 of 40 particles are in neither half set 1 nor 2 (_rlnRandomSubset is 0, 3, 4)' in said
    assert main([*command, '--iterations', '2', '--resume']) == 2
    assert '--iterations was 3 in the interrupted run and is 2 now' in capsys.readouterr().err
    assert main([*command, '--iterations', '4', '--resume', '--cross-fit', 'folds']) == 2
    assert 'cross-fit' in capsys.readouterr().err
    assert main([*command, '--iterations', '4', '--resume']) == 0


def test_a_disk_that_fills_while_a_stack_is_written(tmp_path):
    """A limit on the size of files stands for the full disk."""
    particles, _ = toypairs.pairs(tmp_path, count=40, box=32)
    command = ['filter', '--particles', str(particles), '--method', 'nlm', '--threads', '1', '--batch-size', '5']
    size = particles.with_suffix('.mrcs').stat().st_size

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, size // 2))

    status, said = engine(*command, '--output', str(tmp_path / 'o'), preexec_fn=limited)
    assert status == 1
    assert 'Traceback' not in said
    assert not (tmp_path / 'o/summary.json').exists()
    assert main([*command, '--output', str(tmp_path / 'o'), '--resume']) == 0
    assert main([*command, '--output', str(tmp_path / 'whole')]) == 0
    assert without_time(tmp_path / 'o/denoised.mrcs') == without_time(tmp_path / 'whole/denoised.mrcs')


def test_sorting_of_few_particles_ends_in_a_sentence(tmp_path, capsys):
    images = np.random.default_rng(0).normal(size=(10, 16, 16)).astype(np.float32)
    star = toypairs.write(tmp_path / 'p.star', images)
    for k, more in enumerate((['--embedding', 'tsne'], ['--landmarks', '10'], ['--embedding', 'spectral'],
                              ['--embedding', 'mds', '--clusters', '10'], ['--neighbours', '60'])):  # fmt: skip
        status = main(['cluster', '--particles', str(star), '--output', str(tmp_path / f'o{k}'), *more])
        said = capsys.readouterr().err
        assert status in (0, 2), (more, said)
        assert 'Traceback' not in said


def test_what_is_written_while_the_input_lies_in_the_output(tmp_path, capsys):
    """denoise --overwrite into the folder of its own input deleted the input."""
    toypairs.pairs(tmp_path, count=8, box=16)
    command = ['filter', '--method', 'nlm', '--threads', '1', '--output', str(tmp_path / 'o')]
    assert main([*command, '--particles', str(tmp_path / 'particles.star')]) == 0
    # A table elsewhere that names images of the result.
    table = ParticleTable.read(tmp_path / 'o/denoised.star')
    table.relocate(tmp_path)
    table.write(tmp_path / 'again.star')
    before = (tmp_path / 'o/denoised.mrcs').read_bytes()
    assert main([*command, '--particles', str(tmp_path / 'again.star'), '--overwrite']) == 2
    assert 'is read by this run' in capsys.readouterr().err
    assert (tmp_path / 'o/denoised.mrcs').read_bytes() == before
    assert (tmp_path / 'o/summary.json').exists()
