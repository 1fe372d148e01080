"""The two ways in which a verb can fail, and their exit statuses."""


class InputError(Exception):
    """Wrong usage or wrong input: the message names the file, row or field and says what to do. Exit status 2."""


class WorkError(Exception):
    """The work itself failed (diverged training, full disk): the message says what is left. Exit status 1."""
