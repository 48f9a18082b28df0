"""The tolerance of a diff, apart from everything heavy so that the command line can name it."""

TOLERANCE_DB = 1.0
"""What a comparison may lose against an earlier report before it counts as worse."""
