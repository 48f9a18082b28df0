"""What the Core ML packages of a bundle hold: bytes, and operators by kind. `python -m benchmarks.coreml BUNDLE...`"""

import argparse
from collections import Counter
from pathlib import Path

from dreamlite_mobile.bundle import open_bundle
from dreamlite_mobile.runtime.coreml import function_name
from dreamlite_mobile.runtime.mil.checks import CONSTANTS
from dreamlite_mobile.runtime.mil.program import read_program


def operators(programs: list[Path], method: str) -> Counter[str]:
    """Operators of a method over all its programs, constants left out."""
    found: Counter[str] = Counter()
    for path in programs:
        program = read_program(path)
        operations = program.functions[function_name(program, method)].operations
        found.update(one.kind for one in operations if one.kind not in CONSTANTS)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundles", nargs="+", type=Path)
    for folder in parser.parse_args().bundles:
        bundle = open_bundle(folder, verify="quick")
        print(f"\n{folder.name}\n| component | precision | bytes | method | operators |")
        print("|---" * 5 + "|")
        for name, entry in bundle.manifest.components.items():
            size = sum(bundle.manifest.files[file].bytes for file in entry.files)
            for method, spec in entry.methods.items():
                counts = operators([bundle.file(file) for file in (spec.file, *spec.then)], method)
                kinds = ", ".join(f"{count} {kind}" for kind, count in counts.most_common())
                print(f"| `{name}` | {entry.precision} | {size:,} | {method} | {counts.total()}: {kinds} |")


if __name__ == "__main__":
    main()
