"""Who may send, what is skipped, and what becomes of series that come twice or in parts."""

import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from support.dicom.ct import save, set_all
from support.services.dicom_node import (
    AE_TITLE,
    SENDER,
    NodeServer,
    angled,
    command,
    datasets,
    series,
    storescu,
)
from support.services.orthanc import missing

pytestmark = pytest.mark.slow
MANY = 60
"""Images of a series that takes a while to send."""


@pytest.fixture(scope="module", autouse=True)
def tools() -> None:
    if reason := missing():
        pytest.skip(reason)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_model_path: Path) -> Iterator[NodeServer]:
    folder = tmp_path_factory.mktemp("senders")
    rules = folder / "rules.toml"
    rules.write_text('[[rule]]\nnot_description = "scout"\nminimum_images = 12\n')
    options = ("--rules", rules, "--aborted-after", "3s")
    with NodeServer(folder / "state", tiny_model_path, *options) as server:
        yield server


def long_series(folder: Path, name: str) -> None:
    """A series that is sent from end to end."""
    labels = np.repeat(angled()[:, ::2, ::2], 4, axis=0)[:MANY]
    for number, file in enumerate(save(datasets(name, labels), folder)):
        file.rename(file.with_name(f"in order {number:03d}"))


def test_only_senders_that_are_allowed_may_send(server: NodeServer, tmp_path: Path) -> None:
    series(tmp_path / "ct", "refused")
    before, files = server.series(), server.files()
    foreign = storescu(server.dicom_port, tmp_path / "ct", sender="EVIL")
    assert foreign.returncode != 0 and "Calling AE Title Not Recognized" in foreign.stderr
    wrong = storescu(server.dicom_port, tmp_path / "ct", called="OTHER")
    assert wrong.returncode != 0 and "Called AE Title Not Recognized" in wrong.stderr
    assert (server.series(), server.files()) == (before, files)
    told = server.log.read_text()
    assert "rejected EVIL@127.0.0.1: it is neither a --calling-ae nor a --peer" in told
    assert f"it calls 'OTHER', expected '{AE_TITLE}'" in told


def test_the_node_answers_c_echo(server: NodeServer) -> None:
    echo = ["/usr/bin/echoscu", "-aet", SENDER, "-aec", AE_TITLE, "127.0.0.1"]
    assert subprocess.run([*echo, str(server.dicom_port)], timeout=30).returncode == 0


@pytest.mark.parametrize(
    "change, keep, reason",
    [
        ({"SeriesDescription": "Scout"}, 16, "description is excluded"),
        ({"Modality": "PT"}, 16, "modality is not CT"),
        ({}, 5, "5 images, fewer than 12"),
    ],
    ids=["description", "modality", "few"],
)
def test_a_series_that_no_rule_takes_is_skipped_with_the_reason(
    server: NodeServer, tmp_path: Path, change: dict[str, str], keep: int, reason: str
) -> None:
    images = datasets(f"skipped {reason}")[:keep]
    set_all(images, **change)
    save(images, tmp_path / "ct")
    count = len(server.series())
    assert server.sent(tmp_path / "ct").returncode == 0
    one = server.settled(count + 1)
    assert (one["state"], one["reason"], one["images"]) == ("skipped", reason, keep)
    server.until(lambda: not any(one["id"] in name for name in server.files()))


def test_our_own_objects_are_never_taken(server: NodeServer, tmp_path: Path) -> None:
    """By their class, and whatever their class by who made them."""
    series(tmp_path / "ct", "ours")
    count = len(server.series())
    server.sent(tmp_path / "ct")
    job = server.wait_for(server.settled(count + 1)["id"], "done")
    for name in ("seg", "sr"):
        content = server.http.get(f"{server.url}/api/jobs/{job['id']}/{name}.dcm").content
        (tmp_path / name).mkdir()
        (tmp_path / name / "one.dcm").write_bytes(content)
        done = storescu(server.dicom_port, tmp_path / name)
        assert done.returncode != 0 and "No Acceptable Presentation Contexts" in done.stderr
    images = datasets("derived")
    set_all(images, Manufacturer="lits-toolkit")
    save(images, tmp_path / "derived")
    server.sent(tmp_path / "derived")
    assert "refused an image from SENDER@127.0.0.1: lits-toolkit made it" in server.log.read_text()
    assert len(server.series()) == count + 1


def test_a_series_that_comes_twice_is_segmented_once(server: NodeServer, tmp_path: Path) -> None:
    series(tmp_path / "ct", "twice")
    count = len(server.series())
    server.sent(tmp_path / "ct")
    job = server.wait_for(server.settled(count + 1)["id"], "done")
    server.sent(tmp_path / "ct")
    again = server.settled(count + 2)
    assert (again["state"], again["reason"]) == ("skipped", f"it came before, as job {job['id']}")


def test_late_images_make_a_job_of_all(server: NodeServer, tmp_path: Path) -> None:
    files = series(tmp_path / "ct", "late")
    (tmp_path / "late").mkdir()
    for file in files[13:]:
        file.rename(tmp_path / "late" / file.name)
    count = len(server.series())
    server.sent(tmp_path / "ct")
    first = server.settled(count + 1)
    assert first["images"] == 13
    server.wait_for(first["id"], "done", "failed")
    server.sent(tmp_path / "late")
    whole = server.settled(count + 2)
    assert (whole["state"], whole["images"]) in (("queued", 16), ("ended", 16))
    job = server.wait_for(whole["id"], "done")
    expected = np.count_nonzero(angled()) * 0.016
    assert job["report"]["volumes_ml"]["liver"] == pytest.approx(expected)


def broken_off(server: NodeServer, folder: Path) -> str:
    """Kill a sender in the middle of a series; the series' id."""
    known = {one["id"] for one in server.series()}
    sender = subprocess.Popen(command(server.dicom_port, folder))

    def begun() -> str | None:
        for one in server.series():
            images = server.state / "jobs" / one["id"] / "scan"
            if one["id"] not in known and images.is_dir() and len(list(images.iterdir())) > 20:
                return str(one["id"])
        return None

    found: str = server.until(begun)
    sender.send_signal(signal.SIGKILL)
    sender.wait()
    server.until(lambda: state(server, found) == ("receiving", "aborted"))
    return found


def state(server: NodeServer, job_id: str) -> tuple[str, str]:
    (one,) = (one for one in server.series() if one["id"] == job_id)
    return one["state"], one["transfer"]


def test_a_sender_that_is_killed_repeats_the_series(server: NodeServer, tmp_path: Path) -> None:
    long_series(tmp_path / "ct", "killed")
    job_id = broken_off(server, tmp_path / "ct")
    assert server.sent(tmp_path / "ct").returncode == 0
    job = server.wait_until_known(job_id, "done")
    assert job["options"] == {}
    (one,) = (one for one in server.series() if one["id"] == job_id)
    assert (one["images"], one["transfer"]) == (MANY, "released")


def test_a_sender_that_is_gone_leaves_a_job_with_a_warning(
    server: NodeServer, tmp_path: Path
) -> None:
    long_series(tmp_path / "ct", "gone")
    began = time.monotonic()
    job_id = broken_off(server, tmp_path / "ct")
    job = server.wait_until_known(job_id, "done")
    assert time.monotonic() - began > 3
    assert any("the sender broke off the transfer" in one for one in job["warnings"])
    server.until(server.unfinished_are_removed)


def test_a_full_disk_is_told_to_the_sender(server: NodeServer, tmp_path: Path) -> None:
    """Files of the server cannot grow, as on a full disk."""
    series(tmp_path / "ct", "full")
    count = len(server.series())
    before = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (1, before[1]))
    assert server.sent(tmp_path / "ct").returncode != 0
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, before)
    assert server.sent(tmp_path / "ct").returncode == 0
    one = server.settled(count + 1)
    assert (one["images"], one["reason"]) == (16, None)


def test_images_that_lacked_their_neighbours_are_joined_with_them(
    server: NodeServer, tmp_path: Path
) -> None:
    """The first part fails, as slices are missing in its middle; the second makes it whole."""
    files = series(tmp_path / "ct", "joined")
    (tmp_path / "later").mkdir()
    files[7].rename(tmp_path / "later/one")
    count = len(server.series())
    server.sent(tmp_path / "ct")
    server.wait_until_known(server.settled(count + 1)["id"], "failed")
    server.sent(tmp_path / "later")
    whole = server.settled(count + 2)
    assert whole["images"] == 16
    server.wait_until_known(whole["id"], "done")
