"""The walls: who imports what; and how Scipion sees the plugin. Each check runs in a clean process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import cryoemgan

PACKAGE = Path(cryoemgan.__file__).parent


def in_clean_process(code, **environment):
    """What ``code`` prints, as JSON, in a new Python."""
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


BLOCK = """
import sys, json
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {blocked}:
            raise ImportError('blocked: ' + name)
sys.meta_path.insert(0, Block())
"""


def test_engine_needs_nothing_of_scipion():
    code = (
        BLOCK.format(blocked=('pyworkflow', 'pwem', 'pyworkflowtests', 'xmippLib', 'relion'))
        + """
import importlib, pkgutil, cryoemgan.engine
found = pkgutil.walk_packages(cryoemgan.engine.__path__, 'cryoemgan.engine.')
names = [m.name for m in found if '.tests' not in m.name]
for name in names:
    importlib.import_module(name)
import cryoemgan.figures
print(json.dumps(names))
"""
    )
    assert 'cryoemgan.engine.commands.train' in in_clean_process(code)


def test_scipion_side_needs_no_torch():
    code = (
        BLOCK.format(blocked=('torch', 'sklearn', 'lightning_fabric', 'torch_ctf', 'safetensors'))
        + """
import pyworkflow as pw
domain = pw.Config.getDomain()
print(json.dumps([sorted(k for k, v in found.items() if v.__module__.startswith('cryoemgan'))
      for found in (domain.getProtocols(), domain.getObjects(), domain.getViewers(), domain.getWizards())]))
"""
    )
    protocols, objects, viewers, _ = in_clean_process(code)
    names = [
        'Audit',
        'Cluster',
        'Denoise',
        'Evaluate',
        'Filter',
        'Originals',
        'Project',
        'Report',
        'Select',
        'Simulate',
        'Train',
    ]
    assert protocols == [f'CryoEMGANProt{n}' for n in names]
    assert objects == ['DenoiserModel']
    assert viewers == [
        'AuditViewer',
        'ClusterViewer',
        'DenoiseViewer',
        'DenoiserModelViewer',
        'EvaluateViewer',
        'ProjectViewer',
        'ReportViewer',
        'SelectViewer',
        'SimulateViewer',
        'TrainViewer',
    ]


def test_plugin_has_name_logo_and_tree():
    code = """
import json, os, pyworkflow as pw
plugin = pw.Config.getDomain().getPlugin('cryoemgan')
p = pw.Config.getDomain().getProtocols()['CryoEMGANProtTrain']
print(json.dumps([plugin._pluginInstance.getName(), os.path.exists(p.getPluginLogoPath()), p.getClassPackageName(),
                  sorted(t.getObjId() for t in plugin._pluginInstance.getTemplates())]))
"""
    templates = ['cryoemgan-denoise', 'cryoemgan-facility', 'cryoemgan-map_free', 'cryoemgan-sort']
    assert in_clean_process(code) == ['cryoemgan', True, 'cryoemgan', templates]


@pytest.mark.parametrize(
    ('activation', 'start'),
    [
        ('', sys.executable + ' -m cryoemgan.engine'),
        ('conda activate cryoemgan', 'conda activate cryoemgan && python -m cryoemgan.engine'),
        ('source /opt/e/bin/activate', '. /opt/e/bin/activate && python -m cryoemgan.engine'),
    ],
)
def test_program(activation, start):
    code = (
        'import json, pyworkflow as pw; pw.Config.getDomain().getPlugins(); import cryoemgan; '
        'print(json.dumps([cryoemgan.Plugin.getProgram(), cryoemgan.Plugin.getProgram("0,1"), '
        '"PYTHONPATH" in cryoemgan.Plugin.getEnviron()]))'
    )
    plain, gpus, path_kept = in_clean_process(code, CRYOEMGAN_ENV_ACTIVATION=activation, PYTHONPATH=str(PACKAGE.parent))
    assert plain == start
    assert 'CUDA_VISIBLE_DEVICES=0,1 ' in gpus
    assert path_kept == (activation == '')


def test_missing_torch_is_explained():
    code = (
        BLOCK.format(blocked=('torch',))
        + """
import importlib.util
real = importlib.util.find_spec
import cryoemgan.plugin
cryoemgan.plugin.find_spec = lambda name: None if name == 'torch' else real(name)
print(json.dumps(cryoemgan.Plugin.validateInstallation()))
"""
    )
    message = ' '.join(in_clean_process(code))
    assert 'torch' in message
    assert 'pip install' in message
    assert 'CRYOEMGAN_ENV_ACTIVATION' in message


def test_recipe_makes_an_environment():
    """defineBinaries registers one package that installs the engine and is not installed by default."""
    code = """
import json, pyworkflow as pw
pw.Config.getDomain().getPlugins()
import cryoemgan
class Env:
    def addPackage(self, name, **kwargs):
        self.got = [name, kwargs['default'], kwargs['commands'][0][0]]
env = Env()
cryoemgan.Plugin.defineBinaries(env)
print(json.dumps(env.got))
"""
    name, default, command = in_clean_process(code)
    assert (name, default) == ('cryoemgan', False)
    assert f'conda create -y -n cryoemgan-{cryoemgan.__version__}' in command
    assert 'pip install' in command


def test_no_protocol_imports_torch_in_its_source():
    """Also inside functions: heavy work belongs to the engine's process."""
    for folder in ('protocols', 'viewers', 'wizards'):
        for path in (PACKAGE / folder).glob('*.py'):
            text = path.read_text(encoding='utf-8')
            assert 'import torch' not in text, path
            assert 'import sklearn' not in text, path
