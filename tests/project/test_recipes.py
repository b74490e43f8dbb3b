"""The recipes of docs/archive.md, run by the tools that they are written for."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from lits_runtime.batch.jobs import plan, shard
from lits_runtime.batch.lists.manifest import as_manifest, read_manifest
from lits_runtime.batch.lists.row import Row
from support.batches import contents, invoke
from support.files.scans import write_scan
from support.recipes import recipe, with_lits_infer
from support.services import slurm_node

pytestmark = pytest.mark.slow
SCANS = 10


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Ten sound scans and one that is none."""
    rows = []
    for seed in range(SCANS):
        rows.append(Row(str(write_scan(tmp_path / f"in/{seed}.nii.gz", seed)), f"case/{seed}"))
    path = tmp_path / "manifest.csv"
    path.write_bytes(as_manifest(rows, ".csv"))
    return path


@pytest.fixture
def by_hand(manifest: Path, tiny_model_path: Path, tmp_path: Path) -> dict[str, Any]:
    """What one process makes of it."""
    assert invoke(tiny_model_path, "--list", manifest, "-o", tmp_path / "by_hand").exit_code == 0
    return without_times(tmp_path / "by_hand")


def without_times(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, content in contents(folder).items():
        found[name] = content
        if name.endswith(".json"):
            record = json.loads(content)
            found[name] = {k: v for k, v in record.items() if k not in ("finished", "seconds")}
    return found


def test_slurm_array(
    manifest: Path, by_hand: dict[str, Any], tiny_model_path: Path, tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    if lacking := slurm_node.missing():
        pytest.skip(f"needs {', '.join(lacking)}: apt-get install slurm-wlm munge, as root")
    (tmp_path / "archive.sbatch").write_text(recipe("archive.sbatch"))
    own = with_lits_infer(tmp_path / "bin", tiny_model_path)
    with slurm_node.slurm_node(tmp_path_factory.mktemp("slurm")) as environment:
        environment = {**environment, "PATH": own["PATH"], "MANIFEST": str(manifest)}
        environment["OUT"] = str(tmp_path / "out")
        less = ["--cpus-per-task=1", "--mem=0", "--export=ALL"]
        for _ in "ab":  # the second array finds all done
            subprocess.run(
                ["sbatch", "--wait", *less, "archive.sbatch"],
                cwd=tmp_path, env=environment, check=True, timeout=240,
            )  # fmt: skip
            assert without_times(tmp_path / "out") == by_hand
    logs = [path.read_text() for path in tmp_path.glob("lits-*.log")]
    assert len(logs) == 8
    done = [int(number) for log in logs for number in re.findall(r"(\d+) done,", log)]
    before = [int(number) for log in logs for number in re.findall(r"(\d+) done before", log)]
    assert sum(done) <= SCANS
    assert sum(before) <= SCANS


def test_kubernetes_job(
    manifest: Path, by_hand: dict[str, Any], tiny_model_path: Path, tmp_path: Path
) -> None:
    import kubernetes_validate

    job = yaml.safe_load(recipe("job.yaml"))
    kubernetes_validate.validate(job, "1.29", strict=True)
    completions = job["spec"]["completions"]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    own = with_lits_infer(tmp_path / "bin", tiny_model_path)
    names = {one["name"]: one["value"] for one in container["env"]}
    assert set(names) == {"MANIFEST", "OUT", "TMPDIR"}
    assert f"/{completions}" in container["args"][0]
    for index in range(completions):
        environment = {"MANIFEST": str(manifest), "OUT": str(tmp_path / "out")}
        environment |= {"JOB_COMPLETION_INDEX": str(index)}
        subprocess.run(
            [*container["command"], *container["args"]],
            env={**own, **environment}, check=True, timeout=120,
        )  # fmt: skip
    assert without_times(tmp_path / "out") == by_hand


def test_snakefile(
    manifest: Path, by_hand: dict[str, Any], tiny_model_path: Path, tmp_path: Path
) -> None:
    (tmp_path / "Snakefile").write_text(recipe("Snakefile"))
    own = with_lits_infer(tmp_path / "bin", tiny_model_path)
    config = [f"manifest={manifest}", f"out={tmp_path / 'out'}", "shards=2"]
    subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "2", "--config", *config],
        cwd=tmp_path, env={**own, "HOME": str(tmp_path)}, check=True, timeout=240,
    )  # fmt: skip
    assert without_times(tmp_path / "out") == by_hand
    assert sorted(path.name for path in (tmp_path / "shards").iterdir()) == ["1.done", "2.done"]


def test_nextflow_process(
    manifest: Path, by_hand: dict[str, Any], tiny_model_path: Path, tmp_path: Path
) -> None:
    """Nextflow cannot be had here: its script is run by the shell, as Nextflow would fill it in."""
    (script,) = re.findall(r'"""\n(.*?)"""', recipe("main.nf"), re.DOTALL)
    shards = int(re.findall(r"params.shards = (\d+)", recipe("main.nf"))[0])
    jobs = plan(read_manifest(manifest), tmp_path / "out")
    # By a hash of paths, which are other ones in each run: a shard may be empty.
    parts = [shard(jobs, f"{number}/{shards}") for number in range(1, shards + 1)]
    number, expected = next((number, part) for number, part in enumerate(parts, 1) if part)
    own = with_lits_infer(tmp_path / "bin", tiny_model_path)
    values = {
        "file(params.manifest)": str(manifest),
        "file(params.out)": str(tmp_path / "out"),
        "task.cpus": "1",
        "params.shards": str(shards),
    }
    text = script.replace("${i}", str(number))
    for name, value in values.items():
        text = text.replace("${" + name + "}", str(value))
    assert "${" not in text
    subprocess.run(["bash", "-ue", "-c", text], env=own, check=True, timeout=120)
    made = without_times(tmp_path / "out")
    assert len(made) == 2 * len(expected)
    assert made.items() <= by_hand.items()
    braces = recipe("main.nf")
    assert braces.count("{") == braces.count("}")


def test_ray_cluster_file() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load(recipe("cluster.yaml"))
    validate_config(prepare_config(config))
