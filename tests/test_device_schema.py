"""Published schemas and golden files, which the Kotlin side reads too."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from dreamlite_mobile.device.report import SCHEMAS
from dreamlite_mobile.device.schema import RunRequest, RunResult
from dreamlite_mobile.parity.schema import json_schema

FOLDER = Path(__file__).parent.parent / "dreamlite_mobile/device/schemas"
GOLDEN = {
    "golden-request-generate.json": RunRequest,
    "golden-request-edit.json": RunRequest,
    "golden-result-generate.json": RunResult,
    "golden-result-refused.json": RunResult,
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_published_schema_is_the_code_s(name: str) -> None:
    """Mend: write `json_schema(model)` into the file, and raise the version if an old file would not fit."""
    assert json.loads((FOLDER / name).read_text()) == json_schema(SCHEMAS[name])


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_files_are_read_and_written_alike(name: str) -> None:
    text = (FOLDER / name).read_text()
    assert json.loads(GOLDEN[name].model_validate_json(text).model_dump_json()) == json.loads(text)


def test_an_edit_needs_its_picture() -> None:
    document = json.loads((FOLDER / "golden-request-edit.json").read_text()) | {"picture": None}
    with pytest.raises(ValidationError, match="an edit has a picture"):
        RunRequest.model_validate_json(json.dumps(document))


@pytest.mark.parametrize("place", ["relative/path", "/with space", "/quote'd", ""])
def test_paths_that_a_shell_could_misread_are_refused(place: str) -> None:
    document = json.loads((FOLDER / "golden-request-generate.json").read_text()) | {"bundle": place}
    with pytest.raises(ValidationError, match="bundle"):
        RunRequest.model_validate_json(json.dumps(document))
