"""The data room's one exception."""


class DataError(Exception):
    """Data that is missing, damaged or not what was asked for; its message is the one to print."""
