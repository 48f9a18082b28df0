"""Every row of `benchmarks/README.md` has one command, and every command is one that there is."""

import importlib.util
import re
from fnmatch import fnmatch
from pathlib import Path

import pytest
from typer.main import get_command

from dreamlite_mobile.cli.main import app

ROOT = Path(__file__).parents[1]
TABLE, _, WITHOUT = (ROOT / "benchmarks/README.md").read_text().partition("## On a phone")[0].partition("### Without")
ROWS = [
    [cell.strip() for cell in line.strip().strip("|").split(" | ")]
    for line in TABLE.splitlines()
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


def test_every_results_file_is_in_the_table() -> None:
    """Files of results and of the latency model; some are named by a pattern."""
    named = [name for row in ROWS for name in re.findall(r"`([^` ]+)`", row[0])]
    files = [*(ROOT / "benchmarks/results").iterdir(), *(ROOT / "benchmarks/latency_model").glob("*.json")]
    for path in files:
        name = str(path.relative_to(ROOT / "benchmarks"))
        assert any(fnmatch(name, pattern) for pattern in named), name


def sections() -> list[tuple[str, str, str]]:
    """Document, heading and text of every section that shows a table."""
    found = []
    for path in sorted((ROOT / "benchmarks").glob("*.md")):
        parts = re.split(r"^#{2,3} (.+)$", path.read_text(), flags=re.MULTILINE)
        found += [(path.name, title, text) for title, text in zip(parts[1::2], parts[2::2], strict=True)]
    return [one for one in found if "\n|" in one[2] and one[0] != "README.md"]


@pytest.mark.parametrize(("document", "title", "text"), sections(), ids=lambda text: text[:40])
def test_a_table_has_its_command_or_is_named_as_having_none(document: str, title: str, text: str) -> None:
    with_command = re.search(r"python -m |dreamlite [a-z]|tests/test_", text)
    assert with_command or f"- `{document}`, {title}" in WITHOUT


def test_what_has_no_command_is_there() -> None:
    for document, title in re.findall(r"^- `([^`]+)`, ([^:\n]+)", WITHOUT, flags=re.MULTILINE):
        text = (ROOT / "benchmarks" / document).read_text()
        assert re.search(rf"^#+ {re.escape(title)}(:.*)?$", text, flags=re.MULTILINE), (document, title)


def test_every_document_of_numbers_is_in_the_table() -> None:
    documents = {str(path.relative_to(ROOT / "benchmarks")) for path in (ROOT / "benchmarks").rglob("*.md")}
    named = {name for row in ROWS for name in re.findall(r"\]\(([^)]+)\)", row[0])}
    assert documents - {"README.md"} == {name for name in named if name.endswith(".md")}
