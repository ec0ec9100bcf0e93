"""Errors that are not faults of the code."""


class BadInput(Exception):
    """An error in what the user gave: one sentence that names the file, the key or the image, and says what to do."""


class Stopped(Exception):
    """The end of work that was told to stop and has saved its state; the text says how far it got."""
