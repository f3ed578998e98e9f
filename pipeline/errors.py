"""The errors a user can cause, told in one line; anything else is a fault of the program."""


class PipelineError(Exception):
    """A mistake of the user's, or of the data's: printed as one line, without a traceback."""


class ConfigError(PipelineError):
    """The configuration contradicts itself; the message names the key."""


class DataError(PipelineError):
    """A file does not hold what it must; the message names the file, the place and the remedy."""
