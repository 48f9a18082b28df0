"""The embedded checkpoint: its world and language, its training and its score."""
