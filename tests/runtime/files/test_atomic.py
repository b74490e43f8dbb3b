"""Files that appear whole, and what may be cleaned up after a process that was killed."""

import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lits_runtime.files.atomic import (
    LOCK_PREFIX,
    PARTIAL_PREFIX,
    NewFiles,
    atomic_folder,
    atomic_path,
    remove_abandoned,
)
from lits_runtime.files.locks import locked, patience, try_lock
from support.files.full_disk import largest_file

LEFT_BEHIND = """
import os, sys
from pathlib import Path
from lits_runtime.files.atomic import atomic_path
from lits_runtime.files.locks import locked
from lits_runtime.files.output_rule import lock_paths
target = Path(sys.argv[1])
with locked(lock_paths([target])[0], lambda: None), atomic_path(target) as temporary:
    temporary.write_text("half")
    print("ready", flush=True)
    sys.stdin.read()
    os._exit(1)
"""


@contextmanager
def writing(target: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that has a temporary file and a lock, and dies with them when the block ends."""
    child = subprocess.Popen(
        [sys.executable, "-c", LEFT_BEHIND, str(target)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    yield child
    child.communicate()


def test_only_what_is_ours_and_abandoned_is_removed(tmp_path: Path) -> None:
    others = [".partial-results.nii.gz", ".lits-notes", "lits-partial-x", f"{PARTIAL_PREFIX}dir"]
    for name in others[:-1]:
        (tmp_path / name).write_text("somebody's")
    (tmp_path / others[-1]).mkdir()
    (tmp_path / f"{PARTIAL_PREFIX}link").symlink_to(tmp_path / others[0])
    elsewhere = tmp_path / f"{PARTIAL_PREFIX}00000000-1-abc.nii.gz"  # of another machine
    elsewhere.write_text("perhaps being written")
    kept = sorted(path.name for path in tmp_path.iterdir())
    with writing(tmp_path / "mask.nii.gz"):
        remove_abandoned(tmp_path)
        names = [path.name for path in tmp_path.iterdir()]
        assert len(names) == len(kept) + 2
        assert sum(name.startswith(LOCK_PREFIX) for name in names) == 1
    assert len(list(tmp_path.iterdir())) == len(kept) + 2
    remove_abandoned(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == kept
    os.utime(elsewhere, (0, 0))
    remove_abandoned(tmp_path)
    assert not elsewhere.exists()
    remove_abandoned(tmp_path / "none")


def test_cleaning_up_takes_nothing_that_is_just_being_made(tmp_path: Path) -> None:
    stop = threading.Event()

    def clean() -> None:
        while not stop.is_set():
            remove_abandoned(tmp_path)

    cleaner = threading.Thread(target=clean)
    cleaner.start()
    try:
        for number in range(100):
            with atomic_path(tmp_path / f"{number}.txt") as temporary:
                temporary.write_text("whole")
            with NewFiles() as new:
                new.open(tmp_path / f"{number}.bin").write(b"whole")
                new.close()
                new.take_names()
    finally:
        stop.set()
        cleaner.join()
    assert {path.read_text() for path in tmp_path.iterdir()} == {"whole"}
    assert len(list(tmp_path.iterdir())) == 200


def test_a_file_that_another_process_is_about_to_remove_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create, taken = os.open, list[tuple[Path, int]]()

    def created(path: Path, *arguments: int) -> int:
        descriptor = create(path, *arguments)
        if not taken:  # a cleaner locks it before its maker does
            taken.append((path, create(path, os.O_RDWR)))
            assert try_lock(taken[0][1])
        return descriptor

    monkeypatch.setattr(os, "open", created)
    with atomic_path(tmp_path / "a.txt") as temporary:
        path, cleaner = taken[0]
        assert temporary != path
        path.unlink()
        os.close(cleaner)
        temporary.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_the_system_applies_the_umask_and_nobody_else_s_files_change(tmp_path: Path) -> None:
    seen: set[int] = set()
    stop = threading.Event()

    def watch() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            path = tmp_path / f"other-{number}"
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o666))
            seen.add(stat.S_IMODE(path.stat().st_mode))
            path.unlink()

    before = os.umask(0o027)
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for number in range(100):
            with atomic_path(tmp_path / "file") as temporary:
                temporary.write_text(f"{number}")
        with atomic_folder(tmp_path / "folder") as folder:
            (folder / "x").write_text("x")
    finally:
        stop.set()
        watcher.join()
        os.umask(before)
    assert seen == {0o640}
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o750


def test_a_lock_is_exclusive_and_leaves_no_file(tmp_path: Path) -> None:
    path, inside, most = tmp_path / "lock", 0, 0
    guard = threading.Lock()

    def work() -> None:
        nonlocal inside, most
        for _ in range(50):
            with locked(path, lambda: time.sleep(0)):
                with guard:
                    inside += 1
                    most = max(most, inside)
                with guard:
                    inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert list(tmp_path.iterdir()) == []


def test_waiting_for_a_lock_ends(tmp_path: Path) -> None:
    def give_up() -> None:
        raise TimeoutError

    with (
        locked(tmp_path / "lock", give_up),
        pytest.raises(TimeoutError),
        locked(tmp_path / "lock", patience(0.1, give_up)),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_tells_of_the_target(tmp_path: Path) -> None:
    with largest_file(2**16), pytest.raises(OSError, match="target") as caught, NewFiles() as new:
        file = new.open(tmp_path / "target")
        for _ in range(20):
            file.write(bytes(2**13))
        new.close()
    assert caught.value.filename == str(tmp_path / "target")
    assert list(tmp_path.iterdir()) == []


def test_names_as_long_as_they_may_be(tmp_path: Path) -> None:
    name = f"{'x' * 120}.{'y' * 120}.nii.gz"
    with atomic_path(tmp_path / name) as temporary:
        temporary.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_what_was_written_is_what_was_hashed(tmp_path: Path) -> None:
    import hashlib

    with NewFiles() as new:
        file = new.open(tmp_path / "file")
        file.write(b"one")
        file.seek(6)
        file.write(memoryview(b"two"))
        with pytest.raises(OSError, match="once"):
            file.seek(2)
        facts = new.close()[tmp_path / "file"]
        assert not (tmp_path / "file").exists()
        new.take_names()
    content = (tmp_path / "file").read_bytes()
    assert content == b"one\0\0\0two"
    assert (facts.bytes, facts.sha256) == (9, hashlib.sha256(content).hexdigest())
