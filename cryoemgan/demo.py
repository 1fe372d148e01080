"""The whole job on data that it makes itself: ``python -m cryoemgan.demo FOLDER``.

A phantom molecule with a moving jaw is simulated (64 px, CTF, shifts, noise, poses slightly wrong as a refinement
leaves them). A Scipion project is made inside FOLDER from the plugin's workflow template and run: import, project,
train, denoise, evaluate. Then particles that training never saw are denoised and compared with their true images.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

BOX, PIXEL, STATES, SNR = 64, 4.0, 3, 0.1
TRAINING, TEST = 1500, 300
PROJECT = 'demo'
HOSTS = '[localhost]\nPARALLEL_COMMAND = mpirun -np %_(JOB_NODES)d --map-by node %_(COMMAND)s\n'
PICTURES = (
    ('train', 'TrainViewer', 'showCurves', 'training.png'),
    ('test', 'EvaluateViewer', 'showGallery', 'gallery.png'),
    ('test', 'EvaluateViewer', 'showMetrics', 'metrics.png'),
    ('test', 'EvaluateViewer', 'showFrc', 'frc.png'),
)


def scipion_environment(folder):
    """Variables of a Scipion that lives in ``folder`` and touches nothing else; hosts.conf is written there."""
    home = folder / 'scipion'
    (home / 'config').mkdir(parents=True, exist_ok=True)
    (home / 'config' / 'hosts.conf').write_text(HOSTS, encoding='utf-8')
    return dict(
        SCIPION_HOME=str(home),
        SCIPION_HOSTS=str(home / 'config' / 'hosts.conf'),
        SCIPION_USER_DATA=str(folder / 'userdata'),
        SCIPION_DOMAIN='pwem',
        SCIPION_PYTHON=sys.executable,
        SCIPION_NOTIFY='False',
        VIRTUAL_ENV=sys.prefix,
    )


def simulate(folder, threads):
    """Simulated particles as tables, and the map a refinement would give: the mean of all states."""
    import mrcfile
    import numpy as np

    from .engine.imaging.phantom import claw

    each = -(-(TRAINING + TEST) // STATES)
    subprocess.run(
        [
            sys.executable,
            '-m',
            'cryoemgan.engine',
            'simulate',
            '--output',
            str(folder),
            '--overwrite',
            '--phantom',
            str(STATES),
            '--count',
            str(each),
            '--split',
            str(TRAINING),
            '--split',
            str(TEST),
            '--box',
            str(BOX),
            '--pixel-size',
            str(PIXEL),
            '--snr',
            str(SNR),
            '--ctf',
            '--shift-sd',
            '1',
            '--perturb-angles',
            '1',
            '--perturb-shifts',
            '0.3',
            '--threads',
            str(threads),
        ],
        check=True,
    )
    density = np.mean([state.volume(BOX) for state in claw(STATES)], axis=0, dtype=np.float32)
    with mrcfile.new(folder / 'map.mrc', overwrite=True) as mrc:
        mrc.set_data(density)
        mrc.voxel_size = PIXEL


def as_scipion_set(table, path, rows=None):
    """A STAR table as a Scipion sqlite file, which Scipion imports without further plugins."""
    from pwem.objects import SetOfParticles

    from .table_import import read_particles

    path.unlink(missing_ok=True)
    particles = SetOfParticles(filename=str(path))
    read_particles(table, particles, rows)
    particles.write()
    particles.close()
    return path


class Demo:
    """The Scipion project and its runs."""

    def __init__(self, folder, threads, iterations):
        from pyworkflow.project import Manager

        self.data, self.threads, self.iterations = folder / 'data', threads, iterations
        manager = Manager()
        if manager.hasProject(PROJECT):
            manager.deleteProject(PROJECT)
        self.project = manager.createProject(PROJECT)
        os.chdir(self.project.path)

    def run_template(self):
        """The plugin's template, filled and run; {name: protocol}."""
        from pyworkflow.template import TemplateList

        found = TemplateList()
        found.addPluginTemplates('cryoemgan-denoise')
        template = found.templates[0]
        template.replaceEnvVariables()
        template.parseContent()
        values = dict(
            sqlite=self._particles('refined', range(TRAINING)),
            map=self.data / 'map.mrc',
            pixelSize=PIXEL,
            mapPixelSize=PIXEL,
            iterations=self.iterations,
            threads=self.threads,
        )
        for name, value in values.items():
            template.setParamValue(name, str(value))
        workflow = template.createTemplateFile()
        runs = list(self.project.loadProtocols(workflow).values())
        os.remove(workflow)
        labels = (
            'import particles',
            'import refined map',
            'project references',
            'train denoiser',
            'denoise particles',
            'evaluate denoising',
        )
        for protocol, label in zip(runs, labels):
            self._run(protocol, label)
        return dict(zip(('particles', 'map', 'project', 'train', 'denoise', 'evaluate'), runs))

    def run_test(self, training):
        """Denoise particles kept out of everything, compare with their true images; the evaluation."""
        noisy, clean = (
            self._import(name, label)
            for name, label in (('noisy_2', 'import test particles'), ('clean_2', 'import true images'))
        )
        denoise = self._new(
            'CryoEMGANProtDenoise', inputParticles=(noisy, 'outputParticles'), inputModel=(training, 'outputModel')
        )
        self._run(denoise, 'denoise test particles')
        test = self._new(
            'CryoEMGANProtEvaluate',
            inputReferences=(clean, 'outputParticles'),
            inputParticles=(noisy, 'outputParticles'),
        )
        test.inputDenoised.append(_pointer(denoise, 'outputParticles'))
        return self._run(test, 'evaluate against the truth')

    def _particles(self, name, rows=None):
        return as_scipion_set(self.data / f'{name}.star', self.data / f'{name}.sqlite', rows)

    def _import(self, name, label):
        from pwem.protocols import ProtImportParticles

        return self._run(
            self.project.newProtocol(
                ProtImportParticles,
                importFrom=ProtImportParticles.IMPORT_FROM_SCIPION,
                sqliteFile=str(self._particles(name)),
                samplingRate=PIXEL,
            ),
            label,
        )

    def _new(self, name, **pointers):
        import pyworkflow as pw

        protocol = self.project.newProtocol(pw.Config.getDomain().getProtocols()[name], numberOfThreads=self.threads)
        for attribute, target in pointers.items():
            getattr(protocol, attribute).copy(_pointer(*target))
        return protocol

    def _run(self, protocol, label):
        """Launch as Scipion does, wait, and stop with the protocol's own message if it failed."""
        start = time.time()
        protocol.setObjLabel(label)
        self.project.launchProtocol(protocol, wait=True)
        if not protocol.isFinished():
            sys.exit(f'{label}: {protocol.getErrorMessage()}\nLogs: {os.path.abspath(protocol._getLogsPath())}')
        print(f'{label}: {time.time() - start:.0f} s', flush=True)
        return protocol

    def draw(self, runs, folder):
        """Write the viewers' pictures."""
        from . import viewers

        for run, viewer_name, view, picture in PICTURES:
            viewer = getattr(viewers, viewer_name)(project=self.project, protocol=runs[run])
            viewer.setProtocol(runs[run])
            viewer._getVisualizeDict()[view](view)[0].save(folder / picture)


def _pointer(protocol, output):
    from pyworkflow.object import Pointer

    return Pointer(protocol, extended=output)


def table(runs):
    """Text: what was reached, against the references and against the truth."""
    lines = [f'{"":34}{"affine MSE":>12}{"PSNR":>8}{"SSIM":>8}{"NCC":>8}{"FRC 0.5":>10}']
    for run, title in (('evaluate', 'training set, against references'), ('test', 'unseen, against the truth')):
        for name, m in runs[run].readSummary()['methods'].items():
            resolution = f'{m["frc_0.5"]:.1f} Å' if m['frc_0.5'] else '-'
            affine = {k: m['affine'][k]['mean'] for k in ('mse', 'psnr', 'ssim')}
            lines.append(
                f'{title:24} {name:>8}{affine["mse"]:12.4g}{affine["psnr"]:8.2f}{affine["ssim"]:8.3f}'
                f'{m["ncc"]["mean"]:8.3f}{resolution:>10}'
            )
            title = ''
    return '\n'.join(lines)


def main(argv=None):
    """Run the demo; exit status 0 when every run finished."""
    parser = argparse.ArgumentParser(
        prog='python -m cryoemgan.demo', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('folder', help='Where data, project and pictures go. An earlier demo in it is replaced.')
    parser.add_argument('--iterations', type=int, default=250, help='Length of the training [%(default)s]')
    parser.add_argument('--threads', type=int, default=len(os.sched_getaffinity(0)), help='[%(default)s]')
    given = parser.parse_args(argv)
    start, folder = time.time(), Path(given.folder).resolve()
    _clear(folder)
    environment = scipion_environment(folder)
    # Scipion reads them once, when it is imported: before anything below.
    os.environ.update(environment)
    simulate(folder / 'data', given.threads)
    print(f'simulate: {time.time() - start:.0f} s', flush=True)
    demo = Demo(folder, given.threads, given.iterations)
    runs = demo.run_template()
    runs['test'] = demo.run_test(runs['train'])
    demo.draw(runs, folder)
    results = {name: runs[name].readSummary() for name in ('project', 'train', 'denoise', 'evaluate', 'test')}
    (folder / 'results.json').write_text(json.dumps(results, indent=1), encoding='utf-8')
    print(f'\n{table(runs)}\n\nPictures: {folder}/{{{",".join(p for *_, p in PICTURES)}}}')
    print(
        "Open the project in Scipion's windows (a display is needed):\n  "
        + ' '.join(f'{k}={v}' for k, v in environment.items() if k != 'VIRTUAL_ENV')
        + f' {sys.executable} -O -m pyworkflow.apps.pw_project {PROJECT}'
    )
    print(f'{time.time() - start:.0f} s in all')
    return 0


def _clear(folder):
    """Remove an earlier demo, and nothing else."""
    mark = folder / 'scipion' / 'config' / 'hosts.conf'
    if folder.exists() and any(folder.iterdir()) and not mark.exists():
        sys.exit(f'{folder} holds something else; give a new folder')
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


if __name__ == '__main__':
    sys.exit(main())
