"""A batch on any engine: its outputs are checked, then jobs go in and outcomes come out."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from lits_runtime.arguments import described
from lits_runtime.batch.job import Job
from lits_runtime.batch.job_files import OutputPlan
from lits_runtime.batch.settings import Outcome, Settings
from lits_runtime.errors import ArgumentError, OptionsError
from lits_runtime.files.atomic import remove_abandoned
from lits_runtime.files.output_rule import Inputs
from lits_runtime.model.metadata import ModelMetadata

if TYPE_CHECKING:
    from lits_runtime.batch.results_file import ReportFile

JobProgress: TypeAlias = Callable[[Job, int, int], None]
"""Takes the job, slices done and slices in all."""
ENGINES = ("local", "ray")


class BatchEngine(Protocol):
    """Runs the jobs of a batch with one model, in this process or elsewhere.

    `batch.local` runs them here, `batch.ray_engine` on a cluster. Jobs and settings are plain
    values, and records and locks keep two machines from doing a job twice.
    """

    @property
    def metadata(self) -> ModelMetadata:
        """Of the model that all jobs run with."""

    @property
    def origins(self) -> tuple[Path, ...]:
        """The file that the model was read from, if any; no output may replace it."""

    def run(
        self,
        jobs: Sequence[Job],
        plan: OutputPlan,
        progress: JobProgress | None,
        cancel: Callable[[], bool] | None,
    ) -> Iterator[Outcome]:
        """One outcome for each job until all are done or cancelled; `local` keeps their order."""


def run_batch(
    jobs: Sequence[Job],
    settings: Settings,
    *,
    engine: "str | BatchEngine" = "local",
    progress: JobProgress | None = None,
    cancel: Callable[[], bool] | None = None,
    report: "ReportFile | None" = None,
    also_read: Sequence[Path] = (),
) -> Iterator[Outcome]:
    """Segment many scans with one model.

    Leaving the loop early stops whatever has begun.

    Args:
        jobs: what to do; see `jobs.plan`.
        settings: of all jobs.
        engine: one of `ENGINES`, or an opened one.
        progress: called with the job, slices done and slices in all.
        cancel: asked after each slab whether to stop; the scan in hand is then discarded.
        report: that the caller will write, checked together with the outputs of the jobs.
        also_read: what the caller reads beside scans and model, never to be overwritten.

    Yields:
        One outcome for each job; a failed job stops no other. `local` keeps their order.

    Raises:
        LitsError: the model or the provider does not load.
        OutputError: the report would overwrite a file of others.
        ValueError: the options do not fit the model.
    """
    _check_arguments(jobs, settings)
    running = open_engine(engine, settings) if isinstance(engine, str) else engine
    settings.options.applied(running.metadata)  # raises if they do not fit
    plan = _plan(jobs, running, also_read)
    if report is not None:
        report.check(plan)
    for folder in plan.folders:
        remove_abandoned(folder)
    yield from running.run(jobs, plan, progress, cancel)


def _plan(jobs: Sequence[Job], engine: BatchEngine, also_read: Sequence[Path]) -> OutputPlan:
    inputs = Inputs("the model", engine.origins)
    inputs.add("a file that this run reads", also_read)
    return OutputPlan([job for job in jobs if job.problem is None], engine.metadata.classes, inputs)


def segment_scan(job: Job, settings: Settings) -> dict[str, Any]:
    """Segment one scan here, commit it and return its record: what any engine does for a job.

    The model stays open for the next call with the same settings.

    Raises:
        OutputError: a file of others would be overwritten.
        LitsError: the scan, the model or the provider is at fault.
        OSError: a file cannot be read or written.
    """
    _check_arguments([job], settings)
    from lits_runtime.batch.local import LocalEngine

    return LocalEngine.open(settings).segment(job)


def open_engine(name: str, settings: Settings) -> BatchEngine:
    """Open an engine with the model of the settings.

    Raises:
        OptionsError: there is no such engine.
        LitsError: the model or the provider does not load.
    """
    if name not in ENGINES:
        raise OptionsError(f"engine {name!r}: expected one of {', '.join(ENGINES)}")
    if name == "ray":
        from lits_runtime.batch.ray_engine.engine import RayEngine

        return RayEngine.open(settings)
    from lits_runtime.batch.local import LocalEngine

    return LocalEngine.open(settings)


def _check_arguments(jobs: Sequence[Job], settings: Settings) -> None:
    """Check the types of a caller's jobs and settings.

    Raises:
        ArgumentError: others than `jobs.plan` and `Settings` give.
    """
    if not isinstance(settings, Settings):
        raise ArgumentError(f"settings: {described(settings)}, expected batch.Settings")
    if not isinstance(jobs, Sequence) or not all(isinstance(job, Job) for job in jobs):
        raise ArgumentError("jobs: expected those of lits_runtime.batch.jobs, as plan gives them")
