"""From a sender to a viewer: storescu, the node, the worker, Orthanc, OHIF; nothing stands in."""

import io
from pathlib import Path

import pydicom
import pytest

from support.services import ohif
from support.services.dicom_node import NodeServer, angled, series
from support.services.orthanc import missing, orthanc


@pytest.mark.slow
def test_a_series_comes_back_as_seg_and_sr_that_a_viewer_draws(
    tmp_path: Path, tiny_model_path: Path
) -> None:
    if reason := missing() or ohif.missing():
        pytest.skip(reason)
    files = series(tmp_path / "ct")
    with orthanc(tmp_path / "orthanc") as pacs:
        pacs.store(*files)
        web = f"{pacs.url}/dicom-web"
        peers = ("--peer", f"ORTHANC@127.0.0.1:{pacs.dicom_port}", "--peer", web)
        with NodeServer(tmp_path / "state", tiny_model_path, *peers) as server:
            assert server.sent(tmp_path / "ct").returncode == 0
            job = server.wait_for(server.settled()["id"], "done")
            server.until(lambda: {one["state"] for one in server.deliveries()} == {"sent"})
            assert len(server.deliveries()) == 4, "SEG and SR to two peers"
            assert server.end() == 0
            assert_no_patient(server)
            lines = server.audit()
        assert [line["state"] for line in lines if "series" in line] == ["queued"]
        assert [line["state"] for line in lines if "delivery" in line] == ["sent"] * 4
        assert job["report"]["lesions"] and job["report"]["volumes_ml"]["liver"] == pytest.approx(
            (angled() > 0).sum() * 0.016
        )
        found = {one["MainDicomTags"]["Modality"]: one for one in pacs.json("/series?expand")}
        assert set(found) == {"CT", "SEG", "SR"}
        sent = {
            kind: pydicom.dcmread(io.BytesIO(pacs.get(f"/instances/{one['Instances'][0]}/file")))
            for kind, one in found.items()
        }
        study = sent["CT"].StudyInstanceUID
        assert {one.StudyInstanceUID for one in sent.values()} == {study}
        assert sent["SEG"].ReferencedSeriesSequence[0].SeriesInstanceUID == (
            sent["CT"].SeriesInstanceUID
        )
        with ohif.viewer(pacs.url) as address:
            ohif.look(f"{address}/viewer?StudyInstanceUIDs={study}", tmp_path / "seen.png")
        ohif.assert_in_place(tmp_path / "seen.png", angled())


def assert_no_patient(server: NodeServer) -> None:
    """Neither the log nor the audit log nor a file's name has what names a patient."""
    told = server.log.read_text() + (server.state / "audit.log").read_text()
    told += "".join(server.files())
    for word in ("Doe", "Jane", "4711", "A77", "1.2.826", "venous"):
        assert word not in told, word
