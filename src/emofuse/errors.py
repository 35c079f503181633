"""The few kinds of error that a user of emofuse can cause; each message is one line with its remedy."""


class EmofuseError(Exception):
    """Base of every error that the user can mend. The command line prints it as one line and exits 2."""


class DataError(EmofuseError):
    """A file, row, clip, label or feature is missing, malformed or inconsistent."""


class ConfigError(EmofuseError):
    """A recipe, setting, name or command-line option is unknown or out of range."""
