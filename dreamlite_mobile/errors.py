"""Every refusal this toolkit makes is a `DreamLiteError`: what was found, what is supported, the mend."""

from collections.abc import Iterable
from difflib import get_close_matches


class DreamLiteError(Exception):
    """A clear refusal. The CLI prints the message and exits with `exit_code`."""

    exit_code = 1


class ConfigError(DreamLiteError):
    """A configuration value or option that is not supported."""


class CheckpointError(DreamLiteError):
    """A checkpoint folder or tensor file that is missing, damaged or does not match its configuration."""


class PromptError(DreamLiteError):
    """A prompt or tokenizer that cannot be used."""


class ImageError(DreamLiteError):
    """A source picture that cannot be used."""


class BundleError(DreamLiteError):
    """A bundle that is missing, damaged, unsafe or made for something else."""


class ExportError(DreamLiteError):
    """A component that could not be exported or lowered."""


class OutputError(DreamLiteError):
    """A place that cannot be written."""


class ParityError(DreamLiteError):
    """A measured parity below its floor."""

    exit_code = 3


def unknown_name(kind: str, found: str, known: Iterable[str], nearest: int = 1) -> str:
    """The message for an unknown name: lists the known ones and suggests the nearest, up to that many."""
    names = sorted(known)
    near = get_close_matches(found, names, n=nearest)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    return f"unknown {kind} {found!r}; known: {', '.join(names)}.{hint}"
