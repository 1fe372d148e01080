"""Being asked to end: Ctrl-C, the end of a queue's time (SIGTERM), and the end of the protocol that started the run."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

from .errors import Interrupted

# Process, of a protocol or of a report, that started this one as a step.
PARENT = 'CRYOEMGAN_PARENT'


class Stop:
    """Turns SIGTERM, SIGINT and SIGHUP into `Interrupted`; a command that can stop at a better moment asks for it.

    ``asked`` is True when a signal came while the command was `patient`.
    """

    def __init__(self) -> None:
        self.asked, self._patient = False, False

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Handle the signals inside; elsewhere than in the main thread Python leaves them alone."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        asked = [signal.SIGTERM, signal.SIGINT]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            # A terminal that closes; nohup ignores it.
            asked.append(signal.SIGHUP)
        before = {number: signal.signal(number, self._handle) for number in asked}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._patient and not self.asked:
            self.asked = True
            return
        raise Interrupted(f'stopped by {signal.Signals(number).name}')

    @contextlib.contextmanager
    def patient(self) -> Iterator[None]:
        """Inside, the first signal only sets ``asked``: the command saves its state and raises `Interrupted` itself."""
        self._patient = True
        try:
            yield
        finally:
            self._patient = False


def watch_parent() -> None:
    """End this process when the protocol that started it is gone.

    Scipion's Stop is SIGKILL from outside, and a killed protocol leaves its program running as an orphan. The
    protocol names its own process in CRYOEMGAN_PARENT (not set on a queue, where it runs on another host).
    """
    pid = os.environ.get(PARENT, '')
    if not pid.isdecimal():
        return

    def watch() -> None:
        while True:
            try:
                os.kill(int(pid), 0)
            except ProcessLookupError:
                os._exit(143)
            time.sleep(2)

    threading.Thread(target=watch, daemon=True).start()
