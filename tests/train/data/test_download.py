import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from lits_runtime import DatasetError
from lits_train.cli.data import main
from lits_train.data.download import LITS, OWN_CACHE, Part, download, present
from lits_train.data.free_space import require_space
from support.services.kaggle_stand_in import Kaggle, packed, use_proxy

ONE = Part("andrewmvd/one", range(2), range(3), 1000, 1000)
TWO = Part("andrewmvd/two", range(2, 3), range(0), 1000, 1000)
PARTS = (ONE, TWO)
ALL = {f"{kind}-{number}" for kind in ("volume", "segmentation") for number in range(3)}


pytestmark = pytest.mark.slow


def content(name: str) -> bytes:
    return name.encode() * 40_000  # kagglehub writes what it gets by the MiB


def archive_of(*names: str) -> bytes:
    return packed({name: content(Path(name).name) for name in names})


@pytest.fixture
def kaggle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kaggle]:
    (tmp_path / "home").mkdir()
    with Kaggle().serving(monkeypatch, tmp_path / "home") as serving:
        serving.archives["andrewmvd/one"] = archive_of(
            *(f"segmentations/segmentation-{number}.nii" for number in range(3)),
            "volume_pt1/volume-0.nii",
            "volume_pt2/volume-1.nii",
        )
        serving.archives["andrewmvd/two"] = archive_of("volume_pt6/volume-2.nii", "notes.txt")
        yield serving


def test_both_parts_end_up_in_one_folder_and_nothing_twice(kaggle: Kaggle, tmp_path: Path) -> None:
    folder = tmp_path / "lits"
    assert download(folder, PARTS) == 3
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"{name}.nii" for name in ALL)
    assert (folder / "volume-2.nii").read_bytes() == content("volume-2.nii")
    kaggle.asked.clear()
    assert download(folder, PARTS) == 3
    assert not kaggle.asked, "nothing is missing, and yet Kaggle was asked"


def test_credentials_are_taken_as_kaggles_tools_take_them(
    kaggle: Kaggle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAGGLE_USERNAME", "somebody")
    monkeypatch.setenv("KAGGLE_KEY", "secret")
    download(tmp_path / "lits", PARTS)
    assert kaggle.users == {"somebody:secret"}


def test_an_interrupted_download_is_resumed(kaggle: Kaggle, tmp_path: Path) -> None:
    folder = tmp_path / "lits"
    kaggle.breaks_after = len(kaggle.archives["andrewmvd/one"]) // 2
    with pytest.raises(DatasetError, match="the same command resumes the download"):
        download(folder, PARTS)
    (partial,) = folder.rglob("*.archive")
    there = partial.stat().st_size
    assert there == 2**20
    assert present(folder) == set()
    kaggle.breaks_after = None
    kaggle.asked.clear()
    assert download(folder, PARTS) == 3
    assert ("archive", f"bytes={there}-") in kaggle.asked
    assert (folder / "volume-0.nii").read_bytes() == content("volume-0.nii")


def test_a_part_that_is_there_is_not_asked_for_again(kaggle: Kaggle, tmp_path: Path) -> None:
    folder = tmp_path / "lits"
    download(folder, [ONE])
    kaggle.asked.clear()
    assert download(folder, PARTS) == 3
    assert [name for name, _ in kaggle.asked] == ["GetDataset", "DownloadDataset", "archive"]


def test_missing_pairs_are_named(kaggle: Kaggle, tmp_path: Path) -> None:
    kaggle.archives["andrewmvd/two"] = archive_of("notes.txt")
    with pytest.raises(DatasetError, match=r"2 of 3 pairs are complete; missing: volume-2$"):
        download(tmp_path / "lits", PARTS)


def test_a_damaged_archive_is_downloaded_again(kaggle: Kaggle, tmp_path: Path) -> None:
    folder = tmp_path / "lits"
    good = kaggle.archives["andrewmvd/one"]
    kaggle.archives["andrewmvd/one"] = b"not an archive" * 100
    with pytest.raises(DatasetError, match="it was removed, and the same command"):
        download(folder, PARTS)
    kaggle.archives["andrewmvd/one"] = good
    assert download(folder, PARTS) == 3


def test_a_cache_of_the_users_is_linked_to_and_stays(
    kaggle: Kaggle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, folder = tmp_path / "cache", tmp_path / "lits"
    laid = cache / "datasets/andrewmvd/one/versions/5"
    for name in [f"segmentations/segmentation-{number}.nii" for number in range(3)] + [
        "volume_pt1/volume-0.nii",
        "volume_pt2/volume-1.nii",
    ]:
        (laid / name).parent.mkdir(parents=True, exist_ok=True)
        (laid / name).write_bytes(content(Path(name).name))
    (cache / "datasets/andrewmvd/one/5.complete").touch()
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(cache))
    assert download(folder, PARTS) == 3
    assert [what for what, _ in kaggle.asked].count("archive") == 1
    assert (folder / "volume-0.nii").samefile(laid / "volume_pt1/volume-0.nii")
    assert not (folder / OWN_CACHE).exists()


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_says_where_credentials_go(kaggle: Kaggle, tmp_path: Path, status: int) -> None:
    kaggle.status = status
    done = CliRunner().invoke(main, ["download", str(tmp_path / "lits"), "--no-space-check"])
    assert done.exit_code == 1
    assert f"({status})" in done.stderr and "KAGGLE_USERNAME" in done.stderr
    assert done.stdout == ""


def test_without_a_network_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        use_proxy(monkeypatch, tmp_path, unused.getsockname()[1])
        with pytest.raises(DatasetError, match="connection to Kaggle failed"):
            download(tmp_path / "lits", PARTS)


def test_a_disk_that_is_too_small_is_refused_before_the_start(
    kaggle: Kaggle, tmp_path: Path
) -> None:
    huge = Part("andrewmvd/one", range(2), range(3), 10**18, 10**18)
    with pytest.raises(DatasetError, match=r"needs 2000000000\.0 GB, .* are free"):
        download(tmp_path / "lits", [huge])
    assert not kaggle.asked
    assert require_space(tmp_path / "not/yet/there", 1, "a byte") > 1


def test_the_real_parts_make_131_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = set().union(*(part.names for part in LITS))
    assert len(names) == 262
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        use_proxy(monkeypatch, tmp_path, unused.getsockname()[1])
        for name in names:
            (tmp_path / f"{name}.nii").touch()
        done = CliRunner().invoke(main, ["download", str(tmp_path)])
    assert done.exit_code == 0, done.stderr
    assert "131 pairs, complete" in done.stderr
