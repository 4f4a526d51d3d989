"""The one exception that a user can cause."""


class UserError(Exception):
    """Something the user can mend: one sentence saying what is wrong, where, and what would work.

    The command line prints it without a traceback (unless ``--debug``) and exits with status 2.
    """
