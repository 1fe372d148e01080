"""The ways in which a command can fail, and their exit statuses."""


class InputError(Exception):
    """Wrong usage or wrong input: the message names the file, row or field and says what to do. Exit status 2."""


class WorkError(Exception):
    """The work itself failed (diverged training, full disk): the message says what is left. Exit status 1."""


class Interrupted(WorkError):
    """The run was asked to end before it had finished (Ctrl-C, the end of a queue's time). Exit status 1."""
