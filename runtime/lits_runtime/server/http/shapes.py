"""The JSON of requests and answers, as OpenAPI describes it."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

ID = r"^[0-9a-f]{32}$"


class Refusal(BaseModel):
    """Why a request was refused."""

    detail: str = Field(description="What was found, and what would work.")


def refusals(**reasons: str) -> dict[int | str, dict[str, Any]]:
    """Entries of OpenAPI for refusals: `refusals(_404="no such job")`."""
    return {
        int(status.strip("_")): {"model": Refusal, "description": reason}
        for status, reason in reasons.items()
    }


class ScanOptions(BaseModel):
    """Options of one job; what is left out is as the model says."""

    model_config = ConfigDict(extra="forbid", strict=True)

    thresholds: dict[str, float] | None = Field(
        None, description="By class, the probability from which a voxel belongs to it."
    )
    tta: bool | None = Field(None, description="Average over the transforms used in training.")
    keep_largest_liver: bool | None = Field(
        None, description="Keep the largest component of the liver only."
    )
    min_lesion_ml: float | None = Field(
        None, ge=0, description="Turn lesions below this volume into liver; 0: none."
    )
    drop_lesions_outside_liver: bool | None = Field(
        None, description="Drop lesions that touch no liver."
    )
    min_liver_contact: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Drop lesions of whose surface a smaller share borders liver; 0: none.",
    )
    postprocessing: bool | None = Field(
        None, description="Whether the model's own post-processing applies."
    )
    search: bool | None = Field(
        None, description="Whether slices between two without liver may be left out."
    )
    interpolation: bool | None = Field(
        None, description="Whether the labels of slices between two may be interpolated."
    )
    strict: bool | None = Field(None, description="Treat warnings about a scan as errors.")
    mask_kind: Literal["labels", "liver", "lesion"] | None = Field(
        None, description="What the mask holds: 0/1/2, or 0/1 for one class."
    )


class JobShown(BaseModel):
    """A job as its sender sees it."""

    id: str = Field(pattern=ID)
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    position: int = Field(description="Place in the queue: 1 is next, 0 no longer waits.")
    progress: float | None = Field(description="The part that is done, 0 to 1; null: not begun.")
    created: float = Field(description="Seconds since 1970.")
    started: float | None
    finished: float | None
    attempts: int
    bytes: int = Field(description="Size of the scan's file.")
    options: dict[str, Any]
    report: dict[str, Any] | None = Field(description="Volumes and lesions, of a job that is done.")
    warnings: list[str] = Field(description="Reasons to doubt the report.")
    error: str | None = Field(description="Why the job failed.")
    links: dict[str, str] = Field(description="By name: self, events, and the results there are.")


class JobList(BaseModel):
    """Jobs, newest first."""

    jobs: list[JobShown]
    accepting: bool = Field(description="Whether there is room for another job.")


class SeriesShown(BaseModel):
    """A series that came in by DICOM."""

    id: str = Field(pattern=ID, description="Of the job that it becomes.")
    state: Literal["receiving", "queued", "skipped", "ended"]
    transfer: Literal["open", "released", "aborted"] = Field(
        description="How its last association stands; aborted: it waits for the sender to repeat."
    )
    source: str = Field(description="AE title and address of the sender.")
    created: float = Field(description="When the first image came, in seconds since 1970.")
    settled: float | None = Field(description="When it became a job, or was skipped.")
    images: int
    reason: str | None = Field(description="Why it was skipped.")


class SeriesList(BaseModel):
    """Series, newest first."""

    node: bool = Field(description="Whether there is a DICOM node.")
    series: list[SeriesShown]


class DeliveryShown(BaseModel):
    """A result on its way to a peer."""

    job: str = Field(pattern=ID)
    kind: Literal["seg", "sr"]
    peer: str
    state: Literal["waiting", "sent", "dead"]
    attempts: int
    due: float | None = Field(description="The next attempt, in seconds since 1970.")
    settled: float | None = Field(description="When it was sent, or given up.")
    error: str | None = Field(description="Why the last attempt failed.")


class DeliveryList(BaseModel):
    """Deliveries; those first that are not made."""

    deliveries: list[DeliveryShown]


class DeliveriesDue(BaseModel):
    """How many deliveries are made now."""

    deliveries: int


class ServerShown(BaseModel):
    """What runs here."""

    version: str
    model_sha256: str
    recipe: str
    precision: str
    intended_use: str
    classes: list[str]
    providers: list[str] = Field(description="Of the devices that are ready.")
    max_upload_bytes: int
    max_jobs: int
    keep_s: float = Field(description="How long a finished job is kept, in seconds.")


class Health(BaseModel):
    """The answer of the probes."""

    status: Literal["ok", "not ready"]
