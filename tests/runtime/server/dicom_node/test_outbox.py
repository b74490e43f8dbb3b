"""Deliveries on disk: pauses, giving up, sending again; and peers as they are given."""

import time
from pathlib import Path

import pytest

from lits_runtime.errors import OptionsError
from lits_runtime.server.dicom_node.sending.outbox import DeliveryState, Outbox
from lits_runtime.server.dicom_node.sending.peers import DicomPeer, WebPeer, parse_peer
from lits_runtime.server.queue.state_folder import StateFolder
from lits_runtime.server.queue.store import JobStore

A, B = "a" * 32, "b" * 32
DAY = 86_400.0
MADE = [("sr", "P@h:1", "1"), ("seg", "P@h:1", "2"), ("seg", "Q@h:1", "2")]


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    return JobStore(StateFolder(tmp_path / "state").queue)


def test_one_job_at_a_time_is_due_seg_first(store: JobStore) -> None:
    outbox = Outbox(store.database)
    outbox.fill(A, MADE)
    outbox.fill(B, MADE)
    assert [(one.job, one.kind) for one in outbox.due("P@h:1")] == [(A, "seg"), (A, "sr")]
    for one in outbox.due("P@h:1"):
        outbox.sent(one)
    assert {one.job for one in outbox.due("P@h:1")} == {B}
    assert [one.job for one in outbox.due("Q@h:1")] == [A], "peers do not wait for each other"


def test_pauses_grow_and_then_it_is_given_up(store: JobStore) -> None:
    outbox = Outbox(store.database)
    outbox.fill(A, MADE[:1])
    pauses = []
    for _ in range(8):
        (one,) = outbox.waiting("P@h:1")
        outbox.failed([one], "down", DAY)
        pauses.append(round(outbox.waiting("P@h:1")[0].due - time.time()))
    assert pauses == [15, 30, 60, 120, 240, 480, 600, 600]
    assert outbox.due("P@h:1") == []
    outbox.failed(outbox.waiting("P@h:1"), "still down", 0.0)
    (dead,) = outbox.latest(9)
    assert (dead.state, dead.attempts, dead.error) == (DeliveryState.DEAD, 9, "still down")
    assert outbox.retry() == 1
    (again,) = outbox.due("P@h:1")
    assert (again.attempts, again.state) == (0, DeliveryState.WAITING)


def test_what_waits_for_a_peer_that_is_gone_is_dead(store: JobStore) -> None:
    outbox = Outbox(store.database)
    outbox.fill(A, MADE)
    outbox.bury(["Q@h:1"])
    assert {one.peer for one in outbox.latest(9) if one.state == DeliveryState.DEAD} == {"P@h:1"}
    outbox.bury([])
    assert {one.state for one in outbox.latest(9)} == {DeliveryState.DEAD}


def test_a_job_is_kept_until_its_results_are_sent_and_for_a_while_more(store: JobStore) -> None:
    outbox = Outbox(store.database)
    store.add(A, ".zip", 1, {}, "here")
    job = store.claim()
    assert job is not None and store.complete(job, {})
    outbox.fill(A, MADE[:1])
    later = time.time() + DAY
    assert store.finished_before(later) == []
    outbox.sent(outbox.due("P@h:1")[0])
    assert store.finished_before(later) == [A]
    outbox.send_again(A, MADE[:1])
    assert store.finished_before(later) == []
    assert store.remove(A)
    assert outbox.latest(9) == []


def test_peers_are_ae_titles_with_addresses_or_urls() -> None:
    assert parse_peer("PACS@10.0.0.5:104") == DicomPeer("PACS", "10.0.0.5", 104)
    assert parse_peer("A@B@[fe80::1]:11112") == DicomPeer("A@B", "fe80::1", 11112)
    assert parse_peer("https://h:8/dicom-web/") == WebPeer("https://h:8/dicom-web")


@pytest.mark.parametrize(
    "text, message",
    [
        ("PACS", "expected AE@HOST:PORT"),
        ("PACS@host", "expected AE@HOST:PORT"),
        ("PACS@host:0", "expected AE@HOST:PORT"),
        ("@host:104", "expected AE@HOST:PORT"),
        ("SEVENTEEN_LETTERS@host:104", "expected 1 to 16 characters"),
        ("A\\B@host:104", "without backslash"),
        ("http://", "expected a URL"),
        ("http://host/?a=1", "expected a URL"),
        ("https://me:secret@host/web", "give --peer-authorization FILE"),
    ],
)
def test_a_malformed_peer_is_refused(text: str, message: str) -> None:
    with pytest.raises(OptionsError, match=message) as refused:
        parse_peer(text)
    assert "secret" not in str(refused.value)
