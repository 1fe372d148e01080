"""One definition of each parameter: command line, settings file, ranges."""

import json

import pytest

from cryoemgan.engine.__main__ import build_parser, parse
from cryoemgan.engine.errors import InputError
from cryoemgan.engine.settings import COMMANDS


@pytest.fixture
def inputs(tmp_path):
    for name in ('p.star', 'v.mrc'):
        (tmp_path / name).touch()
    return ['--particles', str(tmp_path / 'p.star'), '--volume', str(tmp_path / 'v.mrc'), '--output', 'out']


def settings_file(tmp_path, **values):
    path = tmp_path / 's.json'
    path.write_text(json.dumps(values))
    return ['--settings', str(path)]


def test_command_line_wins_over_the_settings_file(tmp_path, inputs):
    file = settings_file(tmp_path, lowpass=12, ctf='none', **{'batch-size': 7})
    _, s = parse(['project', *inputs, *file, '--ctf', 'phase-flip'])
    assert (s.lowpass, s.ctf, s.batch_size) == (12.0, 'phase-flip', 7)


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'lowpas': 12}, "unknown option 'lowpas'"),
        ({'lowpass': '12'}, '--lowpass: expected float'),
        ({'lowpass': True}, '--lowpass: expected float'),
        ({'lowpass': float('nan')}, 'not a finite number'),
        ({'lowpass': -1}, '--lowpass: -1.0 must be more than 0'),
        ({'ctf': 'half'}, "'half' is not one of none, phase-flip, full"),
        ({'batch_size': 1.5}, '--batch-size: expected int'),
        ({'mask': 'gone.mrc'}, '--mask: gone.mrc does not exist'),
        ({'resume': True, 'overwrite': True}, 'exclude each other'),
    ],
)
def test_wrong_values_name_their_option(tmp_path, inputs, values, message):
    with pytest.raises(InputError, match=message):
        parse(['project', *inputs, *settings_file(tmp_path, **values)])


@pytest.mark.parametrize('text', ['', '[1]', '{"a": ', '\x00'])
def test_damaged_settings_file(tmp_path, inputs, text):
    (tmp_path / 's.json').write_text(text)
    with pytest.raises(InputError, match='--settings'):
        parse(['project', *inputs, '--settings', str(tmp_path / 's.json')])


def test_missing_input_and_required_option(inputs):
    with pytest.raises(InputError, match='--particles is missing'):
        parse(['project', *inputs[2:]])
    with pytest.raises(InputError, match='gone.star does not exist'):
        parse(['project', '--particles', 'gone.star', *inputs[2:]])


@pytest.mark.parametrize('verb', COMMANDS)
def test_help_of_every_verb_and_option(verb, capsys):
    with pytest.raises(SystemExit) as stop:
        build_parser().parse_args([verb, '--help'])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    cls = COMMANDS[verb]
    for name, field in cls.__dataclass_fields__.items():
        assert '--' + name.replace('_', '-') in text
        words = set(field.metadata['help'].lower().split())
        label = set(field.metadata['label'].lower().split())
        assert len(words - label) >= 2, f'{verb}: the help of {name} only repeats its label'
