"""Errors a user can act on. Each message is one sentence: what was expected, what came, what to do."""


class ChatAnyoneError(Exception):
    """Base of all errors that are the input's fault, not the program's; the command line prints it as one line."""


class ConfigError(ChatAnyoneError):
    """A setting is unknown, missing or out of range."""


class CheckpointError(ChatAnyoneError):
    """A weights file is missing, damaged or of another kind."""


class MediaError(ChatAnyoneError):
    """An audio, image or video file cannot be read or written."""


class PortraitError(ChatAnyoneError):
    """The picture does not show a person the way the renderer needs."""


class StreamClosed(ChatAnyoneError):
    """Samples were pushed into a stream that was flushed already."""


def reason(error: Exception) -> str:
    """What the system or FFmpeg says, without its number and the path: our sentence names the file itself."""
    return str(getattr(error, "strerror", None) or error)
