"""The embedded checkpoint: its captions, its vocabulary and where it comes from."""
