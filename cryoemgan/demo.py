"""The whole road on data that it makes itself: ``python -m cryoemgan.demo FOLDER``.

A phantom molecule is simulated (64 px, CTF, shifts, noise, poses slightly wrong as a refinement leaves them); one
particle in ten is replaced by pure noise, as junk. A Scipion project is made inside FOLDER: import, then the protocol
*denoise and sort*, which ends with a page. Since the truth is known here, the demo also tells how far it was met.
"""

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

BOX, PIXEL, SNR, COUNT, JUNK = 64, 4.0, 0.1, 600, 0.1
PROJECT = 'denoise_and_sort_demo'
HOSTS = '[localhost]\nPARALLEL_COMMAND = mpirun -np %_(JOB_NODES)d --map-by node %_(COMMAND)s\n'
# A small template library: a demo, not a measurement.
TRAINING = {'bank_size': 2000}


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


def engine(*words):
    """Run a command of the engine."""
    subprocess.run([sys.executable, '-m', 'cryoemgan.engine', *map(str, words)], check=True)


def simulate(folder, threads):
    """Particles as a refinement leaves them (refined.star), some of them junk; the map; the truth (clean.star)."""
    engine(
        'simulate', '--output', folder, '--overwrite', '--phantom', 1, '--count', COUNT, '--box', BOX, '--pixel-size',
        PIXEL, '--snr', SNR, '--ctf', '--shift-sd', 1, '--perturb-angles', 1, '--perturb-shifts', 0.3, '--contaminate',
        'particles', '--contaminate-fraction', JUNK, '--threads', threads,
    )  # fmt: skip


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

    def __init__(self, folder, threads):
        from pyworkflow.project import Manager

        self.data, self.threads = folder / 'data', threads
        manager = Manager()
        if manager.hasProject(PROJECT):
            manager.deleteProject(PROJECT)
        self.project = manager.createProject(PROJECT)
        os.chdir(self.project.path)

    def run_report(self, minutes):
        """Import, denoise and sort; the protocol of the report."""
        import pyworkflow as pw
        from pwem.protocols import ProtImportParticles, ProtImportVolumes

        particles = self._run(
            'import particles',
            ProtImportParticles,
            importFrom=ProtImportParticles.IMPORT_FROM_SCIPION,
            sqliteFile=str(as_scipion_set(self.data / 'refined.star', self.data / 'refined.sqlite')),
            samplingRate=PIXEL,
        )
        volume = self._run(
            'import refined map', ProtImportVolumes, filesPath=str(self.data / 'volume_1.mrc'), samplingRate=PIXEL
        )
        options = self.data / 'training.json'
        options.write_text(json.dumps(TRAINING), encoding='utf-8')
        return self._run(
            'denoise and sort',
            pw.Config.getDomain().getProtocols()['CryoEMGANProtReport'],
            {'inputParticles': (particles, 'outputParticles'), 'inputVolume': (volume, 'outputVolume')},
            minutes=minutes,
            trainSettings=str(options),
            numberOfThreads=self.threads,
        )

    def _run(self, label, which, pointers=(), **values):
        """Launch as Scipion does, wait, and stop with the protocol's own message if it failed."""
        from pyworkflow.object import Pointer

        start, protocol = time.time(), self.project.newProtocol(which, **values)
        for name, (owner, output) in dict(pointers).items():
            getattr(protocol, name).copy(Pointer(owner, extended=output))
        protocol.setObjLabel(label)
        self.project.launchProtocol(protocol, wait=True)
        if not protocol.isFinished():
            sys.exit(f'{label}: {protocol.getErrorMessage()}\nLogs: {os.path.abspath(protocol._getLogsPath())}')
        print(f'{label}: {time.time() - start:.0f} s', flush=True)
        return protocol


def truth_met(run, data):
    """Sentences: junk and good particles that were rejected; errors against the true images."""
    from .engine.data.table import ParticleTable

    made = ParticleTable.read(data / 'refined.star')
    junk = dict(zip(made.ints('rlnImageId').tolist(), made.ints('cryoemganContaminated').astype(bool)))
    rejected = {i.getObjId() for i in run.outputRejected} if hasattr(run, 'outputRejected') else set()
    good = [k for k, is_junk in junk.items() if not is_junk]
    found, lost = len(rejected - set(good)), len(rejected & set(good))
    yield f'junk: {found} of {len(junk) - len(good)} rejected; good particles: {lost} of {len(good)} rejected'
    output, denoised = data / 'against_truth', run.getRunDir('5_denoised_guided', 'denoised.star')
    engine(
        'evaluate', '--references', data / 'clean.star', '--particles', f'noisy={data / "noisy.star"}', '--particles',
        f'trained={run.getRunDir("4_denoised_trained", "denoised.star")}', '--particles', f'guided={denoised}',
        '--output', output, '--overwrite', '--threads', 1,
    )  # fmt: skip
    names = dict(zip(map(str, made.ints('rlnImageId')), junk.values()))
    with (output / 'metrics.csv').open(encoding='utf-8') as file:
        rows = [r for r in csv.DictReader(file) if not names.get(r['particle'], False)]
    for method in dict.fromkeys(r['method'] for r in rows):
        found = [float(r['ncc']) for r in rows if r['method'] == method]
        yield f'{method}: mean correlation with the true image {sum(found) / len(found):.3f} (good particles)'


def main(argv=None):
    """Run the demo; exit status 0 when every run finished."""
    parser = argparse.ArgumentParser(
        prog='python -m cryoemgan.demo', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('folder', help='Where data, project and page go. An earlier demo in it is replaced.')
    parser.add_argument('--minutes', type=float, default=2.0, help='Of training, of both networks [%(default)s]')
    parser.add_argument('--threads', type=int, default=len(os.sched_getaffinity(0)), help='[%(default)s]')
    given = parser.parse_args(argv)
    start, folder = time.time(), Path(given.folder).resolve()
    _clear(folder)
    environment = scipion_environment(folder)
    # Scipion reads them once, when it is imported: before anything below.
    os.environ.update(environment)
    simulate(folder / 'data', given.threads)
    print(f'simulate: {time.time() - start:.0f} s', flush=True)
    demo = Demo(folder, given.threads)
    run = demo.run_report(given.minutes)
    shutil.copyfile(run.getPage(), folder / 'report.html')
    met = list(truth_met(run, folder / 'data'))
    (folder / 'results.json').write_text(
        json.dumps({'report': run.readSummary(), 'truth': met}, indent=1), encoding='utf-8'
    )
    print('\n' + '\n'.join(run.summary()[:1] + met))
    print(
        "\nThe project in Scipion's windows (a display is needed):\n  "
        + ' '.join(f'{k}={v}' for k, v in environment.items() if k != 'VIRTUAL_ENV')
        + f' {sys.executable} -O -m pyworkflow.apps.pw_project {PROJECT}'
    )
    print(f'\n{time.time() - start:.0f} s in all. The page, to open in a browser:\n  {folder / "report.html"}')
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
