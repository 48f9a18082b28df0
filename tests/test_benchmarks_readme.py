"""Every row of `benchmarks/README.md` has one command, and every command is one that there is."""

import importlib.util
import re
from pathlib import Path

import pytest
from typer.main import get_command

from dreamlite_mobile.cli.main import app

ROOT = Path(__file__).parents[1]
ROWS = [
    [cell.strip() for cell in line.strip().strip("|").split(" | ")]
    for line in (ROOT / "benchmarks/README.md").read_text().partition("## On a phone")[0].splitlines()
    if line.startswith("| ") and not line.startswith("| file |")
]
COMMANDS = sorted({command for row in ROWS for command in row[-1].strip("`").split(" && ")})


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[1][:60])
def test_a_row_has_a_file_and_one_command(row: list[str]) -> None:
    assert len(row) == 3 and re.fullmatch(r"`[^`]+`", row[2]), row
    for name in re.findall(r"\]\(([^)]+)\)", row[0]):
        assert (ROOT / "benchmarks" / name).is_file(), name


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_one_that_there_is(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = command.split()
    if "dreamlite" in command and "-m" not in words:
        name = words[next(index for index, word in enumerate(words) if word.endswith("bin/dreamlite")) + 1]
        options = {option for one in get_command(app).commands[name].params for option in one.opts}
        assert {word for word in words if word.startswith("--")} <= options
    elif "pytest" in words:
        assert all((ROOT / word).is_file() for word in words if word.startswith("tests/"))
    else:
        assert importlib.util.find_spec(words[words.index("-m") + 1]) is not None


def test_every_document_of_numbers_is_in_the_table() -> None:
    documents = {str(path.relative_to(ROOT / "benchmarks")) for path in (ROOT / "benchmarks").rglob("*.md")}
    named = {name for row in ROWS for name in re.findall(r"\]\(([^)]+)\)", row[0])}
    assert documents - {"README.md"} == {name for name in named if name.endswith(".md")}
