"""Shared by all tests: offline, and Ctrl-C works even where a shell started the tests in the background."""

import os
import signal

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# A background job inherits "ignore", and so would the processes that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
