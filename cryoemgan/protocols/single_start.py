"""One start at a time: a run that is started again while it works goes on undisturbed.

Scipion's ``schedule`` walks downstream from each root of a project and starts what hangs on two roots twice.
"""

import fcntl
import os
from pathlib import Path

from pyworkflow.protocol import STATUS_RUNNING


class SingleStart:
    """The part of a protocol that recognises an earlier start of itself which is still at work."""

    def run(self):
        """As Scipion's; a second start says so and ends, and leaves the run to the first."""
        lock = Path(self._getLogsPath('running.lock'))
        with lock.open('a+', encoding='ascii') as f:
            try:
                fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                f.seek(0)
                self._leave_to_the_first(f.read())
                return
            f.truncate(0)
            f.write(str(os.getpid()))
            f.flush()
            super().run()

    def _leave_to_the_first(self, pid):
        """The run's record names the process that works; being started again had put ours there."""
        self.info('This run is at work already (it was started twice): nothing to do.')
        self.setStatus(STATUS_RUNNING)
        if pid.isdigit() and not self.useQueueForProtocol():
            self.setPid(int(pid))
        self._store(self.status, self._pid)
