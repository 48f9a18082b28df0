"""The toybox commands that the toolkit uses, as Android's toybox answers them."""

import hashlib
import time

from adb_device.shell import Call, Command

MISSING = "No such file or directory"


def cat(call: Call) -> int:
    code = 0
    for name in call.words[1:]:
        found = call.phone.read(call.path(name))
        if found is not None:
            call.out += found
        else:
            call.complain(f"{name}: {MISSING}")
            code = 1
    return code


def sha256sum(call: Call) -> int:
    code = 0
    for name in call.words[1:]:
        place = call.phone.storage.host(call.path(name))
        if place.is_file():
            digest = hashlib.sha256(place.read_bytes()).hexdigest()
            part = call.phone.faults.wrong_sum
            call.say(f"{digest[::-1] if part and part in name else digest}  {name}")
        else:
            call.complain(f"{name}: {MISSING}")
            code = 1
    return code


def mkdir(call: Call) -> int:
    code, parents = 0, "-p" in call.words
    for name in (word for word in call.words[1:] if not word.startswith("-")):
        try:
            call.phone.storage.host(call.path(name)).mkdir(parents=parents, exist_ok=parents)
        except OSError as error:
            call.complain(f"'{name}': {error.strerror}")
            code = 1
    return code


def touch(call: Call) -> int:
    for name in call.words[1:]:
        call.phone.storage.host(call.path(name)).touch()
    return 0


def date(call: Call) -> int:
    """`date +%s`."""
    call.say(str(int(time.time())))
    return 0


def rm(call: Call) -> int:
    code = 0
    forced = any("f" in word for word in call.words[1:] if word.startswith("-"))
    for name in (word for word in call.words[1:] if not word.startswith("-")):
        if not call.phone.storage.host(call.path(name)).exists() and not forced:
            call.complain(f"{name}: {MISSING}")
            code = 1
        call.phone.storage.remove(call.path(name))
    return code


def rmdir(call: Call) -> int:
    code = 0
    for name in (word for word in call.words[1:] if not word.startswith("-")):
        place = call.phone.storage.host(call.path(name))
        if not place.is_dir() or any(place.iterdir()):
            call.complain(f"{name}: Directory not empty")
            code = 1
        else:
            place.rmdir()
    return code


def mv(call: Call) -> int:
    source, target = (call.phone.storage.host(call.path(name)) for name in call.words[-2:])
    if not source.exists():
        call.complain(f"bad '{call.words[-2]}': {MISSING}")
        return 1
    source.replace(target)
    return 0


def chmod(call: Call) -> int:
    for name in call.words[2:]:
        call.phone.storage.host(call.path(name)).chmod(int(call.words[1], 8))
    return 0


def stat(call: Call) -> int:
    """`stat -c FORMAT FILE...`: %s the size, %Y the time of the last change."""
    code, wanted = 0, {"%s": "st_size", "%Y": "st_mtime"}[call.words[2]]
    for name in call.words[3:]:
        place = call.phone.storage.host(call.path(name))
        if place.exists():
            call.say(str(int(getattr(place.stat(), wanted))))
        else:
            call.complain(f"'{name}': {MISSING}")
            code = 1
    return code


def df(call: Call) -> int:
    storage = call.phone.storage
    used, free = storage.used() // 1024, storage.free() // 1024
    call.say("Filesystem     1K-blocks      Used Available Use% Mounted on")
    call.say(f"/dev/block/dm-52 {used + free} {used} {free} {100 * used // max(1, used + free)}% /data/user/0")
    return 0


def ls(call: Call) -> int:
    for name in (word for word in call.words[1:] if not word.startswith("-")):
        place = call.phone.storage.host(call.path(name))
        if not place.exists():
            call.complain(f"{name}: {MISSING}")
            return 1
        for entry in sorted(place.iterdir()) if place.is_dir() else [place]:
            call.say(entry.name if place.is_dir() else name)
    return 0


def echo(call: Call) -> int:
    call.say(" ".join(call.words[1:]))
    return 0


def test(call: Call) -> int:
    """`test -e FILE` and `test -L FILE`."""
    place = call.phone.storage.host(call.path(call.words[2]))
    return int(not (place.is_symlink() if call.words[1] == "-L" else place.exists()))


def sleep(call: Call) -> int:
    time.sleep(float(call.words[1]))
    return 0


def timeout(call: Call) -> int:
    """`timeout SECONDS PROGRAM ...`: a program that a test lets hang is stopped."""
    if call.phone.faults.hang:
        time.sleep(float(call.words[1]))
        return 124
    call.words = call.words[2:]
    return call.phone.execute(call, call.path(call.words[0]))


def true(_call: Call) -> int:
    return 0


TOYBOX: dict[str, Command] = {
    command.__name__: command
    for command in (
        cat,
        sha256sum,
        mkdir,
        touch,
        date,
        rm,
        rmdir,
        mv,
        chmod,
        stat,
        df,
        ls,
        echo,
        test,
        sleep,
        timeout,
        true,
    )
}
