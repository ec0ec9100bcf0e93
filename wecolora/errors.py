"""The one error that users are meant to read."""


class BadInput(Exception):
    """Bad input: one sentence that names the file, the key or the image, and what to do."""
