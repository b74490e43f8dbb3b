"""Slabs over KServe v2: JSON and binary, answers equal to the model's, and faults in one line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from lits_runtime import Segmenter
from support.files.scans import random_hu, save
from support.services.served import Server

SLAB = random_hu((3, 5, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_model_path: Path) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("kserve") / "state", "-m", tiny_model_path) as server:
        yield server


@pytest.fixture(scope="module")
def expected(tiny_model_path: Path) -> dict[str, Any]:
    with Segmenter.open(tiny_model_path) as segmenter:
        return {"labels": segmenter.labels(SLAB), "probability": segmenter.probability(SLAB)}


def infer(server: Server, inputs: dict[str, Any], binary: bytes = b"", **more: Any) -> Any:
    given = {"name": "slab", "shape": SLAB.shape, "datatype": "FP32"} | inputs
    text = json.dumps({"inputs": [given]} | more).encode()
    headers = {"Inference-Header-Content-Length": str(len(text))} if binary else {}
    url = f"{server.url}/v2/models/lits/infer"
    return server.http.post(url, data=text + binary, headers=headers)


@pytest.mark.parametrize("data", [SLAB.ravel().tolist(), SLAB.tolist()], ids=["flat", "nested"])
def test_json_gives_the_models_answer(
    server: Server, expected: dict[str, Any], data: list[Any]
) -> None:
    asked = [{"name": "probability"}, {"name": "labels"}]
    answer = infer(server, {"data": data}, outputs=asked, id="7").json()
    assert answer["id"] == "7"
    for output, name in zip(answer["outputs"], ("probability", "labels"), strict=True):
        values = np.array(output["data"], expected[name].dtype).reshape(output["shape"])
        assert output["name"] == name and np.array_equal(values, expected[name])


def test_binary_gives_the_models_answer(server: Server, expected: dict[str, Any]) -> None:
    size = {"parameters": {"binary_data_size": SLAB.nbytes}}
    answer = infer(server, size, SLAB.tobytes(), parameters={"binary_data_output": True})
    end = int(answer.headers["inference-header-content-length"])
    (output,) = json.loads(answer.content[:end])["outputs"]
    assert output["parameters"]["binary_data_size"] == expected["labels"].nbytes
    values = np.frombuffer(answer.content[end:], np.uint8).reshape(output["shape"])
    assert np.array_equal(values, expected["labels"])


def test_a_slab_does_not_wait_for_the_job_in_hand(server: Server, tmp_path: Path) -> None:
    volume = np.tile(random_hu((128, 128, 8)), (1, 1, 150))
    job_id = server.accepted(save(tmp_path / "long.nii", volume, np.eye(4)))
    server.wait_for(job_id, "running")
    answer = infer(server, {"data": SLAB.tolist()})
    assert answer.status_code == 200, answer.text
    assert server.job(job_id)["state"] == "running"
    server.http.delete(f"{server.url}/api/jobs/{job_id}")


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "no data": ({}, "its shape needs 240"),
    "few data": ({"data": [1.0]}, "its shape needs 240"),
    "text": ({"data": ["a"] * 60}, "expected numbers"),
    "deep": ({"data": [[[[1.0]]]]}, "expected numbers"),
    "another name": ({"name": "image", "data": [1.0]}, "slab"),
    "another type": ({"datatype": "FP16", "data": [1.0]}, "FP32"),
    "no slice": ({"shape": [0, 5, 4], "data": []}, "inputs.0.shape.0"),
    "infinite": ({"data": [float("inf")] * 60}, "finite"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_told_in_one_line(server: Server, fault: str) -> None:
    given, words = FAULTS[fault]
    answer = infer(server, given)
    assert answer.status_code == 400 and words in answer.json()["error"]


def test_a_slab_beyond_the_limit_is_refused(server: Server) -> None:
    assert infer(server, {"shape": [4096, 4096, 4096], "data": [1.0]}).status_code == 413


def test_the_model_is_described(server: Server) -> None:
    model = requests.get(f"{server.url}/v2/models/lits", timeout=10).json()
    assert model["inputs"] == [{"name": "slab", "datatype": "FP32", "shape": [-1, -1, -1]}]
    for path in ("", "/health/live", "/health/ready", "/models/lits/ready"):
        assert requests.get(f"{server.url}/v2{path}", timeout=10).status_code == 200
