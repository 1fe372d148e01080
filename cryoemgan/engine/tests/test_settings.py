"""One definition of each parameter: command line, settings file, ranges."""

import json
from dataclasses import fields

import pytest

from cryoemgan.engine.__main__ import build_parser, parse
from cryoemgan.engine.errors import InputError
from cryoemgan.engine.processes import choose_devices
from cryoemgan.engine.settings import COMMANDS, Train
from cryoemgan.engine.settings.base import value_type


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
        # Tampered files: each was once a traceback, or hung.
        ({'batch_size': None}, '--batch-size: expected int, got nothing'),
        ({'seed': None}, '--seed: expected int, got nothing'),
        ({'class_volume': 5}, '--class-volume: expected a list, got 5'),
        ({'class_volume': 'v.mrc'}, '--class-volume: expected a list'),
        ({'class_volume': [[[['v.mrc']]]]}, '--class-volume: expected str'),
        ({'lowpass': 1e29}, '--lowpass: 1e\\+29'),
        ({'lowpass': 10**400}, '--lowpass: a number of|--lowpass: 1000'),
        ({'lowpass': []}, '--lowpass: expected float'),
        ({'seed': 10**30}, '--seed: 1000'),
        ({'mask': '\x00'}, 'control characters'),
        ({'mask': '\ud800'}, 'is not text'),
        ({'mask': 'x' * 300}, 'does not exist'),
        ({'mask': 'x' * 5000}, 'too long'),
        ({'mask': '/dev/zero'}, 'neither a file nor a folder'),
        ({'batch-size': 1, 'batch_size': 2}, 'given twice'),
    ],
)
def test_wrong_values_name_their_option(tmp_path, inputs, values, message):
    with pytest.raises(InputError, match=message):
        parse(['project', *inputs, *settings_file(tmp_path, **values)])


@pytest.mark.parametrize(
    'text',
    [
        '',
        '[1]',
        '{"a": ',
        '\x00',
        '[' * 100_000,
        '{"seed": 1, "seed": 2}',
        '{"lowpass": Infinity}',
        '{"seed": 1' + '0' * 5000 + '}',
        ' ' * 2**21,
    ],
)
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
    required, _, rest = text.partition('Required:')[2].partition('\n\n')
    for field in fields(cls):
        name = field.name
        assert '--' + name.replace('_', '-') in (required if field.metadata['required'] else rest)
        words = set(field.metadata['help'].lower().split())
        label = set(field.metadata['label'].lower().split())
        assert len(words - label) >= 2, f'{verb}: the help of {name} only repeats its label'


def test_the_settings_that_a_run_left_behind_are_settings_again(tmp_path, inputs):
    written = {'verb': 'project', 'version': '1', 'settings': {'lowpass': 9.0, 'mask': None, 'class_volume': []}}
    assert parse(['project', *inputs, *settings_file(tmp_path, **written)])[1].lowpass == 9.0
    with pytest.raises(InputError, match="holds the settings of 'train'"):
        parse(['project', *inputs, *settings_file(tmp_path, **written | {'verb': 'train'})])


def test_options_stand_in_the_group_of_their_class(capsys):
    with pytest.raises(SystemExit):
        build_parser().parse_args(['project', '--help'])
    text = capsys.readouterr().out
    places = [text.index(f'\n{title}:') for title in ('Required', 'Maps', 'References', 'The run')]
    assert places == sorted(places)
    assert places[1] < text.index('\n  --half1') < places[2]
    assert 'usage: cryoemgan project --particles FILE --output DIR [options]' in text


@pytest.mark.parametrize('name', ['nonsense', 'cuda:', 'cuda:a', 'cuda:²', 'gpu', '', 'cpu,cuda'])
def test_no_command_ignores_a_device_that_is_none(name):
    for cls in COMMANDS.values():
        required = {}
        for field in fields(cls):
            if field.metadata['required']:
                required[field.name] = [__file__] if value_type(cls, field.name)[1] else __file__
        with pytest.raises(InputError, match='--device'):
            cls(**{**required, 'output': 'x', 'device': name}).validate()


def test_several_computers_need_a_launcher(monkeypatch):
    """Alone, the process would wait for the others for ever."""
    for name in ('LOCAL_WORLD_SIZE', 'SLURM_STEP_NUM_TASKS', 'NODE_RANK'):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match='--nodes: 5 computers'):
        choose_devices(Train(nodes=5, device='cpu', precision='float32'))
