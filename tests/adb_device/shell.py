"""A small shell: simple commands joined by `&&`, `||` and `;`, redirections, patterns, variables before a command."""

import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adb_device.phone import Phone

JOINTS = ("&&", "||", ";")


@dataclass
class Call:
    """One command: its words, where it runs, what it prints."""

    phone: "Phone"
    words: list[str]
    folder: str = "/"
    out: bytes = b""
    err: bytes = b""

    def say(self, text: str) -> None:
        self.out += f"{text}\n".encode()

    def complain(self, text: str) -> None:
        self.err += f"{self.words[0]}: {text}\n".encode()

    def path(self, text: str) -> str:
        """Absolute."""
        return str(PurePosixPath(self.folder, text))


Command = Callable[[Call], int]


@dataclass
class Shell:
    """Runs a line; collects what it printed."""

    phone: "Phone"
    commands: dict[str, Command]
    folder: str = "/"
    out: bytes = b""
    err: bytes = b""
    code: int = field(default=0)

    def run(self, line: str) -> int:
        """The exit code of the last command that ran."""
        joint = ";"
        for simple, following in split(line):
            if simple and not ((joint == "&&" and self.code) or (joint == "||" and not self.code)):
                self.code = self.one(simple)
            joint = following
        return self.code

    def one(self, tokens: list[str]) -> int:
        """One command with its redirections."""
        words, targets = redirections(tokens)
        while words and "=" in words[0] and not words[0].startswith("/"):
            words = words[1:]
        words = [word for text in words for word in self.expanded(text)]
        if not words:
            return 0
        if words[0] == "cd":
            self.folder = str(PurePosixPath(self.folder, words[1]))
            return 0
        call = Call(self.phone, words, self.folder)
        code = self.dispatch(call)
        return self.deliver(call, targets) or code

    def dispatch(self, call: Call) -> int:
        name = call.words[0]
        if name in self.commands:
            return self.commands[name](call)
        program = call.path(name)
        if "/" in name and self.phone.storage.host(program).is_file():
            return self.phone.execute(call, program)
        self.err += f"/system/bin/sh: {name}: inaccessible or not found\n".encode()
        return 127

    def deliver(self, call: Call, targets: dict[str, str]) -> int:
        """To the streams, or into files; the exit code of a full phone."""
        if targets.get("2") == "/dev/null":
            call.err = b""
        elif targets.get("2") == "&1":
            call.out, call.err = call.out + call.err, b""
        self.err += call.err
        place = targets.get(">>") or targets.get(">")
        if place is None:
            self.out += call.out
            return 0
        if place == "/dev/null":
            return 0
        try:
            place = call.path(place)
            if ">" in targets:
                self.phone.storage.write(place, b"")
            self.phone.storage.append(place, call.out)
        except OSError:
            self.err += f"{call.words[0]}: write: No space left on device\n".encode()
            return 1
        return 0

    def expanded(self, text: str) -> list[str]:
        """A pattern's matches, or the word itself."""
        if "*" not in text:
            return [text]
        root = self.phone.storage.root
        found = sorted(root.glob(text.lstrip("/")))
        return [f"/{place.relative_to(root)}" for place in found] or [text]


def split(line: str) -> Iterator[tuple[list[str], str]]:
    """Each simple command with the joint after it."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;<>")
    lexer.whitespace_split = True
    tokens: list[str] = []
    for token in lexer:
        if token in JOINTS:
            yield tokens, token
            tokens = []
        else:
            tokens.append(token)
    yield tokens, ";"


def redirections(tokens: list[str]) -> tuple[list[str], dict[str, str]]:
    """The words, and what goes where: keys `>`, `>>` and `2`."""
    words: list[str] = []
    targets: dict[str, str] = {}
    rest = iter(tokens)
    for token in rest:
        if token in (">", ">>"):
            stderr = bool(words) and words[-1] == "2"
            if stderr:
                words.pop()
            targets["2" if stderr else token] = next(rest)
        elif token == ">&":
            words.pop()
            targets["2"] = f"&{next(rest)}"
        else:
            words.append(token)
    return words, targets
