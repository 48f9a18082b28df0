"""Core ML's ML programs without Core ML: a saved package is read and its operators are computed one by one.

Written from the formats and the operators' definitions, with nothing of coremltools: whatever the converter gets wrong
shows as a difference from torch instead of being repeated here.
"""
