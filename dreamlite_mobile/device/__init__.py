"""Phones: found and read through adb, given a bundle, made to run it, and what came of it judged."""
