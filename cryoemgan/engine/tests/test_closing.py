"""What a command says first of its folder and last of its result."""

import pytest

from .. import closing
from ..__main__ import main
from ..commands.report import findings
from ..settings.denoise import Denoise
from ..settings.project import Project
from ..settings.simulate import Simulate
from ..signals import PARENT


def test_a_finished_command_says_where_its_result_is(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv(PARENT, raising=False)
    out = tmp_path / 'sim'
    words = ['simulate', '--phantom', '1', '--count', '5', '--box', '16', '--threads', '1', '--output', str(out)]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert f'finished: {out}\nto look at: {out}/gallery.html\n' in said
    assert f'{out}/clean.star: the truth' in said
    # There is none without --perturb-angles.
    assert 'refined.star' not in said
    # A step of a report or of a protocol leaves the last word to it.
    monkeypatch.setenv(PARENT, '1')
    assert closing.sentences('simulate', Simulate(output=str(out)), {}) == []


def test_the_next_command_can_be_typed(tmp_path, monkeypatch):
    monkeypatch.delenv(PARENT, raising=False)
    settings = Project(particles='my run.star', output=str(tmp_path / 'refs'))
    *_, last = closing.sentences('project', settings, {'alternatives': {'best': 'given'}})
    assert last == (
        f"next: cryoemgan train --particles 'my run.star' --references {tmp_path}/refs/references.star --output train"
    )
    # References that do not belong to the particles are to be made again first.
    wrong = closing.sentences('project', settings, {'alternatives': {'best': 'the mirrored map'}})
    assert not any(sentence.startswith('next') for sentence in wrong)
    without_scores = closing.sentences('denoise', Denoise(particles='p.star', output='d'), {'uncertainty_median': None})
    assert without_scores == ['finished: d']
    *_, last = closing.sentences('denoise', Denoise(particles='p.star', output='d'), {'uncertainty_median': 0.5})
    assert last == 'next: cryoemgan select --particles d/denoised.star --source p.star --output selected'


@pytest.mark.parametrize('occupied', ['folder', 'file'])
def test_a_folder_in_use_is_refused_before_the_input_is_read(tmp_path, capsys, occupied):
    out = tmp_path / 'out'
    if occupied == 'folder':
        out.mkdir()
    (out / 'notes.txt' if occupied == 'folder' else out).write_text('mine')
    # A table that cannot be read, and is not.
    (tmp_path / 'p.star').write_text('no table')
    words = ['project', '--particles', str(tmp_path / 'p.star'), '--volume', str(tmp_path / 'p.star')]
    assert main([*words, '--output', str(out), '--threads', '1']) == 2
    assert '--output: ' in capsys.readouterr().err


def test_the_page_of_a_report_says_how_far_off_the_angles_are():
    """As ``denoise`` said it: angles that are wrong look like particles that are."""
    network = {'fit': None, 'poses': "poses: the median angle to the refinement's is 3.4 degrees"}
    said = findings._limits({'half_map_resolution': None}, [{'fit': None, 'poses': None}, network])
    assert "Angles: the median angle to the refinement's is 3.4 degrees." in said
