"""The folder of a server: its lock, uploads under way, and the files of each job."""

import os
import shutil
from collections.abc import Collection
from pathlib import Path

from lits_runtime.errors import OutputBusyError, OutputError
from lits_runtime.files.locks import try_lock
from lits_runtime.messages import printable
from lits_runtime.server.queue.job import Job

RESULTS = {"mask": "mask.nii.gz", "seg": "seg.dcm", "sr": "sr.dcm"}
"""Files of an attempt, as `records.result_files` names them."""


class StateFolder:
    """Files of the queue under one folder, which only its owner can read.

        queue.sqlite    the jobs
        audit.log       a line for each job that ended
        incoming/ID     an upload under way
        jobs/ID/        an accepted job: scan.nii.gz, and 1/mask.nii.gz of its first attempt;
                        shown/ has files for the eye; a series that comes in by DICOM has a
                        folder scan/ from its first image on

    Each attempt has a folder of its own, so that a worker that outlives its server by a moment
    cannot touch the results of the next.

    Raises:
        OutputBusyError: another server uses the folder.
        OutputError: it has files where uploads and jobs go, and no queue that knows them.
        OSError: it cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._incoming, self._jobs = self.path / "incoming", self.path / "jobs"
        self._refuse_foreign(path)
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        for folder in (self._incoming, self._jobs):
            folder.mkdir(exist_ok=True, mode=0o700)
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
        self._lock = os.open(self.path / "lock", flags, 0o600)
        if try_lock(self._lock) is False:
            os.close(self._lock)
            raise OutputBusyError(
                f"{printable(str(path))}: another lits-serve uses this folder; end it, or take "
                "another --state"
            )

    def _refuse_foreign(self, path: Path) -> None:
        """A start removes what is in these folders and belongs to no job of the queue."""
        for folder in (self._incoming, self._jobs):
            if not self.queue.exists() and folder.exists() and os.listdir(folder):
                raise OutputError(
                    f"{printable(str(path))}: {folder.name}/ holds files, and there is no "
                    f"{self.queue.name} that knows them: not the folder of a lits-serve, or its "
                    "queue was lost; take another --state, or move them away"
                )

    def close(self) -> None:
        """Let another server use the folder."""
        os.close(self._lock)

    @property
    def queue(self) -> Path:
        """The file of the jobs."""
        return self.path / "queue.sqlite"

    @property
    def audit(self) -> Path:
        """The log of jobs that ended."""
        return self.path / "audit.log"

    @property
    def arrivals(self) -> Path:
        """The folder of what is under way, which is emptied at the next start."""
        return self._incoming

    def incoming(self, job_id: str) -> Path:
        """Where an upload is written."""
        return self._incoming / job_id

    def accept(self, job_id: str, ending: str) -> None:
        """Give an upload that was written and synced its place among the jobs, for good."""
        folder = self._jobs / job_id
        folder.mkdir(mode=0o700)
        self.incoming(job_id).replace(folder / f"scan{ending}")
        for changed in (folder, self._jobs):
            sync(changed)

    def scan(self, job: Job) -> Path:
        """The scan of a job: a file, or a folder of DICOM files."""
        return self._jobs / job.id / f"scan{job.ending}"

    def begin_series(self, job_id: str) -> Path:
        """Make the folder of a series that comes in image by image."""
        folder = self._jobs / job_id / "scan"
        folder.mkdir(parents=True, mode=0o700)
        for changed in (folder.parent, self._jobs):
            sync(changed)
        return folder

    def series(self, job_id: str) -> Path:
        """The folder of a series that came in, or comes in, image by image."""
        return self._jobs / job_id / "scan"

    def mask(self, job: Job) -> Path:
        """The mask of a job's present attempt."""
        return self._jobs / job.id / str(job.attempts) / RESULTS["mask"]

    def results(self, job: Job) -> dict[str, Path]:
        """The files that a job which is done has, by name; a SEG only if something is labelled."""
        folder = self.mask(job).parent
        files = {name: folder / file for name, file in RESULTS.items()}
        return {name: path for name, path in files.items() if path.exists()}

    def shown(self, job: Job, name: str) -> Path:
        """A file for the eye, made from the results when it is asked for."""
        return self._jobs / job.id / "shown" / name

    def begin_attempt(self, job: Job) -> None:
        """Make the folder of an attempt, and remove those of earlier ones."""
        folder = self.mask(job).parent
        for old in folder.parent.iterdir():
            if old.name.isdigit():
                shutil.rmtree(old, ignore_errors=True)
        folder.mkdir(mode=0o700, exist_ok=True)

    def settle(self, job: Job) -> None:
        """Make sure that the results of an attempt outlast a loss of power."""
        for folder in (self.mask(job).parent, self._jobs / job.id):
            sync(folder)

    def remove(self, job_id: str) -> None:
        """Remove all files of a job."""
        shutil.rmtree(self._jobs / job_id, ignore_errors=True)

    def remove_all_but(self, known: Collection[str]) -> None:
        """Remove unfinished uploads, and what belongs to no job."""
        for upload in self._incoming.iterdir():
            upload.unlink(missing_ok=True)
        for folder in self._jobs.iterdir():
            if folder.name not in known:
                self.remove(folder.name)

    def free_bytes(self) -> int:
        """Room that is left on its disk."""
        return shutil.disk_usage(self.path).free


def sync(folder: Path) -> None:
    """Make sure that names in a folder outlast a loss of power."""
    if os.name == "nt":  # which cannot open folders
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
