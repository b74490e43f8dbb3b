"""Slurm on one node, this machine, from Debian's slurm-wlm: for tests, on loopback, as root."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
"""In /usr/sbin, where Debian puts them."""


def missing() -> list[str]:
    """What a test needs and this machine lacks."""
    lacking = [name for name in DAEMONS if shutil.which(name, path="/usr/sbin") is None]
    return lacking or ([] if os.getuid() == 0 else ["root"])


def _port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _config(folder: Path, cpus: int) -> str:
    host = socket.gethostname().partition(".")[0]
    return "\n".join(
        (
            "ClusterName=test",
            f"SlurmctldHost={host}(127.0.0.1)",
            f"SlurmctldPort={_port()}",
            f"SlurmdPort={_port()}",
            "SlurmUser=root",
            "SlurmdUser=root",
            "AuthType=auth/munge",
            f"AuthInfo=socket={folder}/munge.socket",
            "CommunicationParameters=NoCtldInAddrAny,NoInAddrAny",
            "ProctrackType=proctrack/linuxproc",
            "TaskPlugin=task/none",
            "SwitchType=switch/none",
            "MpiDefault=none",
            "ReturnToService=2",
            "SchedulerType=sched/backfill",
            "SchedulerParameters=sched_interval=1,batch_sched_delay=0",
            "SelectType=select/cons_tres",
            "SelectTypeParameters=CR_CPU",
            "SlurmdParameters=config_overrides",
            f"StateSaveLocation={folder}/state",
            f"SlurmdSpoolDir={folder}/spool",
            f"SlurmctldPidFile={folder}/slurmctld.pid",
            f"SlurmdPidFile={folder}/slurmd.pid",
            f"SlurmctldLogFile={folder}/slurmctld.log",
            f"SlurmdLogFile={folder}/slurmd.log",
            f"NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=4000 State=UNKNOWN",
            f"PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP",
            "",
        )
    )


@contextmanager
def slurm_node(folder: Path, cpus: int = 4) -> Iterator[Mapping[str, str]]:
    """Daemons of one node, and the environment in which sbatch and squeue find them."""
    folder.chmod(0o755)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    (folder / "slurm.conf").write_text(_config(folder, cpus))
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}
    files = {"key-file": key, "socket": folder / "munge.socket", "pid-file": folder / "munge.pid"}
    files |= {"log-file": folder / "munge.log", "seed-file": folder / "munge.seed"}
    options = [f"--{name}={path}" for name, path in files.items()]
    commands = (
        ["/usr/sbin/munged", "--foreground", "--force", *options],
        ["/usr/sbin/slurmctld", "-D", "-f", environment["SLURM_CONF"]],
        ["/usr/sbin/slurmd", "-D", "-f", environment["SLURM_CONF"]],
    )
    running: list[subprocess.Popen[bytes]] = []
    try:
        for command in commands:
            with (folder / f"{Path(command[0]).name}.out").open("wb") as out:
                running.append(
                    subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment)
                )
            time.sleep(0.3)
        _wait_until_idle(environment)
        yield environment
    finally:
        for process in reversed(running):
            process.terminate()
        for process in running:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_until_idle(environment: Mapping[str, str]) -> None:
    said = ""
    for _ in range(120):
        done = subprocess.run(
            ["sinfo", "-h", "-o", "%t"], capture_output=True, text=True, env=environment
        )
        said = (done.stdout + done.stderr).strip()
        if said == "idle":
            return
        time.sleep(0.5)
    raise RuntimeError(f"the node did not become idle: {said}")
