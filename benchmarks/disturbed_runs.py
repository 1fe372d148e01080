"""Runs of commands that are spoiled at random, each in one way, and what became of them (for ``soak``)."""

import math
import os
import resource
import shutil
import signal
import sys
import time
from pathlib import Path

import torch

from cryoemgan.engine import __main__ as cli

# Not compared: they hold times, paths or are drawn from what is compared.
OTHERS = {'summary.json', 'settings.json', 'card.json', 'guide.json', '.pt', '.html', '.png', '.jpg'}


class Engine:
    """Runs commands in forked processes: torch is loaded once."""

    def __init__(self, log):
        self.log = log

    def start(self, arguments, limit=None):
        """Process id of a command; limit: largest file it may write, bytes."""
        pid = os.fork()
        if pid:
            return pid
        status = 70
        try:
            os.setsid()
            handle = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(handle, 1)
            os.dup2(handle, 2)
            if limit:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            torch.set_num_threads(1)
            sys.stdout, sys.stderr = (os.fdopen(n, 'w', closefd=False) for n in (1, 2))
            status = cli.main([*arguments, '--threads', '1'])
            sys.stdout.flush()
            sys.stderr.flush()
        except SystemExit as e:
            status = e.code
        except BaseException as e:  # noqa: BLE001
            os.write(2, f'Traceback, of {e!r}\n'.encode())
        finally:
            os._exit(status)

    def run(self, arguments, limit=None):
        """Exit status of a command, minus the signal that ended it."""
        return ended(self.start(arguments, limit))

    def said(self):
        """Last line of what the latest command said."""
        text = self.log.read_text(errors='replace')
        lines = [line for line in text.replace('\r', '\n').splitlines() if line.strip()]
        return ('TRACEBACK ' if 'Traceback' in text else '') + (lines[-1] if lines else '')


def ended(pid):
    """Exit status of a process, minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def content(folder):
    """{name: bytes} of what is compared; names of weights hold their digest."""
    found = {}
    for path in sorted(folder.rglob('*')):
        if not path.is_file() or path.name in OTHERS or path.suffix in OTHERS:
            continue
        data = path.read_bytes()
        if path.suffix in ('.mrc', '.mrcs'):
            # The labels of the header hold the time.
            data = data[:224] + data[1024:]
        if path.name == 'metrics.csv' and data.startswith(b'member'):
            data = b'\n'.join(b','.join(line.split(b',')[:3] + line.split(b',')[4:]) for line in data.split(b'\n'))
        found[str(path.relative_to(folder))] = data
    return found


class Trial:
    """One run that is spoiled in one way. Its outcome: equal, refused, or wrong with what is wrong."""

    def __init__(self, engine, data, arguments, seconds, expected, folder, rng):
        self.engine, self.data, self.arguments, self.seconds = engine, data, arguments, seconds
        self.expected, self.rng, self.out = expected, rng, folder / 'o'
        self.folder = folder

    def command(self, *more, arguments=None):
        return [*(arguments or self.arguments), '--output', str(self.out), *more]

    def interrupted(self, number=signal.SIGKILL, *more, begun=False):
        """Start, and send a signal at a random moment (begun: once the run has its folder); the exit status."""
        resume = ['--resume'] if self.out.is_dir() and any(self.out.iterdir()) and not more else []
        pid = self.engine.start(self.command(*resume, *more))
        deadline = time.monotonic() + self.rng.uniform(0.0, 1.1) * self.seconds
        while time.monotonic() < deadline or (begun and not (self.out / 'settings.json').exists()):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.005)
        os.kill(pid, number)
        return ended(pid)

    def finish(self, *more):
        """Go on to the end and compare."""
        status, said = self.engine.run(self.command('--resume', *more)), self.engine.said()
        if status == 2 and said.startswith('cryoemgan: '):
            return 'refused', said
        if status:
            return 'wrong', f'exit {status}: {said}'
        return self.compared()

    def compared(self, expected=None):
        expected, found = expected or self.expected, content(self.out)
        if found.keys() != expected.keys():
            return 'wrong', f'files {sorted(found.keys() ^ expected.keys())}'
        other = [name for name in found if found[name] != expected[name]]
        return ('wrong', f'other content in {other}') if other else ('equal', '')

    def kill(self):
        for _ in range(self.rng.randint(1, 3)):
            self.interrupted()
        return self.must_be_equal(self.finish())

    def signal(self):
        status = self.interrupted(self.rng.choice([signal.SIGTERM, signal.SIGINT]))
        said = self.engine.said()
        if status not in (0, 1, -signal.SIGTERM, -signal.SIGINT) or 'TRACEBACK' in said:
            return 'wrong', f'exit {status}: {said}'
        return self.must_be_equal(self.finish())

    def full_disk(self):
        largest = max(len(d) for d in self.expected.values())
        limit = int(10 ** self.rng.uniform(2.5, math.log10(largest)))
        status, said = self.engine.run(self.command(), limit), self.engine.said()
        complete = (self.out / 'summary.json').exists()
        if status != 1 or 'TRACEBACK' in said or complete:
            return 'wrong', f'{limit=}: exit {status}, {complete=}: {said}'
        return self.must_be_equal(self.finish())

    def damage(self):
        """A file of a run, finished or not, is another when it goes on."""
        self.interrupted(begun=True)
        path = self.rng.choice([p for p in sorted(self.out.rglob('*')) if p.is_file() and p.stat().st_size])
        data, kind = bytearray(path.read_bytes()), self.rng.choice(['flip', 'cut', 'empty', 'gone'])
        kept = {'cut': self.rng.randrange(len(data)), 'empty': 0}.get(kind, len(data))
        if kind == 'flip':
            data[self.rng.randrange(len(data))] ^= 1 << self.rng.randrange(8)
        path.write_bytes(data[:kept]) if kind != 'gone' else path.unlink()
        (outcome, why), said = self.finish(), self.engine.said()
        if outcome == 'refused' and path.name not in said:
            outcome = 'wrong'
        return outcome, f'{path.relative_to(self.out)} {kind}: {why}'

    def changed_input(self):
        """An input is another when the run goes on, finished or not."""
        source, copy = self.data, self.folder / 'data'
        shutil.copytree(source, copy)
        for path in (*copy.rglob('summary.json'), *copy.rglob('settings.json')):
            # As files of another program, whose changes nobody else would notice.
            path.unlink()
        self.arguments = [a.replace(f'{source}/', f'{copy}/') for a in self.arguments]
        self.interrupted(begun=True)
        named = [Path(a.split('=')[-1]) for a in self.arguments if f'{copy}/' in a]
        if not named:
            status, said = self.engine.run(self.command('--resume', '--seed', '7')), self.engine.said()
            return ('refused', said) if status == 2 and '--seed' in said else ('wrong', f'exit {status}: {said}')
        path = self.rng.choice(named)
        if path.suffix == '.star' and self.arguments[0] not in ('originals', 'select') and self.rng.random() < 0.5:
            path = path.with_suffix('.mrcs')
        if path.is_dir():
            path = self.rng.choice(sorted(path.iterdir()))
        data = bytearray(path.read_bytes())
        if path.suffix == '.star':
            lines = bytes(data).split(b'\n')
            a, b = self.rng.sample([i for i, line in enumerate(lines) if b'@' in line], 2)
            lines[a], lines[b] = lines[b], lines[a]
            data = b'\n'.join(lines)
        elif path.suffix in ('.mrc', '.mrcs'):
            data[1024 + 4 * self.rng.randrange((len(data) - 1024) // 4)] ^= 1
        else:
            data[self.rng.randrange(len(data))] ^= 1 << self.rng.randrange(8)
        path.write_bytes(data)
        outcome, why = self.finish()
        return (outcome, why) if outcome == 'refused' else ('wrong', f'{path.name} was changed: {outcome} {why}')

    def overwrite(self):
        """A run that replaces another result: killed, the other is whole or the new one is; then it goes on."""
        if self.engine.run(self.command('--seed', '7')):
            return 'wrong', self.engine.said()
        (self.out / 'notes.txt').write_text('mine')
        before = content(self.out)
        self.interrupted(signal.SIGKILL, '--overwrite')
        if (self.out / 'summary.json').exists() and not (self.out / '.unfinished').exists():
            old = self.compared(before)[0] == 'equal'
            if not old and self.compared({**self.expected, 'notes.txt': b'mine'})[0] != 'equal':
                return 'wrong', 'neither the old result nor the new one'
            more = ['--overwrite'] if old else ['--resume']
        else:
            inside = {k: v for k, v in content(self.out).items() if not k.startswith('.unfinished')}
            if (self.out / 'summary.json').exists() and inside != before:
                return 'wrong', 'the old result has changed'
            more = ['--overwrite'] if self.rng.random() < 0.5 else ['--resume']
        if self.engine.run(self.command(*more)):
            # Killed before the new run had its settings: --resume sees the old one, and refuses.
            said = self.engine.said()
            if more != ['--resume'] or 'seed' not in said or self.engine.run(self.command('--overwrite')):
                return 'wrong', said
        return self.must_be_equal(self.compared({**self.expected, 'notes.txt': b'mine'}))

    def two_at_once(self):
        pids = [self.engine.start(self.command()) for _ in range(2)]
        statuses = sorted(ended(pid) for pid in pids)
        if statuses != [0, 2]:
            return 'wrong', f'exits {statuses}'
        return self.must_be_equal(self.compared())

    @staticmethod
    def must_be_equal(outcome):
        return outcome if outcome[0] != 'refused' else ('wrong', outcome[1])
