"""The `dreamlite` command. It parses, calls one typed function, prints.

Exit codes: 0 done; 1 refused, with the reason and the mend on stderr; 2 wrong usage; 3 a parity below its floor;
130 interrupted.
"""

from dreamlite_mobile.cli.main import main

__all__ = ["main"]
