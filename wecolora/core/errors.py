"""The errors that are no faults of the code."""


class BadInput(Exception):
    """Bad input: one sentence that names the file, the key or the image, and what to do."""


class Stopped(Exception):
    """The work was told to stop and is saved: how far it got."""
