"""`dreamlite golden`: vectors for the Kotlin side."""

from pathlib import Path
from typing import Annotated

import typer

from dreamlite_mobile.cli.shared import ForceOption, JsonOption, print_json, quiet_libraries, stdout
from dreamlite_mobile.errors import ConfigError


def golden(
    out: Annotated[Path, typer.Argument(help="Folder to write, e.g. android_app/target/golden.")],
    tokenizer: Annotated[
        list[str] | None, typer.Option(help="NAME=PATH of a tokenizer.json; may be given several times.")
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="A bundle: adds manifest cases, and pictures to make again.")
    ] = None,
    force: ForceOption = False,
    json_output: JsonOption = False,
) -> None:
    """Write golden vectors: tokens, prompts, noise, sigmas, pictures, manifests, and what a bundle draws.

    Example: dreamlite golden android_app/target/golden --tokenizer tiny=bundle/tokenizer.json --bundle bundle
    """
    quiet_libraries()
    from dreamlite_mobile.golden.write import write_golden

    digests = write_golden(out, dict(map(_named, tokenizer or [])), bundle, replace=force)
    if json_output:
        print_json({"out": str(out), "files": digests})
    else:
        stdout.print(f"{len(digests)} files in {out}", markup=False)


def _named(option: str) -> tuple[str, Path]:
    name, equals, path = option.partition("=")
    if not equals or not path or not name.isidentifier():
        raise ConfigError(f"--tokenizer {option}: found no NAME=PATH; write e.g. qwen=tokenizer/tokenizer.json")
    return name, Path(path)
