"""DreamLite on phones: the published networks re-expressed for inference, exported, run and checked."""

__version__ = "0.1.3"
