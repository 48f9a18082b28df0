"""Stages of the training recipe by name."""

from dreamlite_mobile.tiny.recipe import STAGES, Stage


def stage_of(name: str) -> Stage:
    return next(stage for stage in STAGES if stage.name == name)
