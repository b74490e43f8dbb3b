"""Slabs over the KServe v2 protocol, as Triton's clients speak it."""

import array
import asyncio
import json
import math
import sys
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from lits_runtime.messages import brief
from lits_runtime.server.queue.dispatcher import Dispatcher
from lits_runtime.server.queue.orders import Infer, Tensor

MAX_SLAB_BYTES = 2**26
"""16 slices of 1024 x 1024; JSON may take twice as much."""
_SPLIT = "inference-header-content-length"
_DATATYPES = {"uint8": "UINT8", "float32": "FP32"}
_CODES = {"uint8": "B", "float32": "f"}
_WAIT_S = 120.0
_DEPTH = 3

Size = Annotated[int, Field(ge=1, le=4096)]


class InferRefusal(BaseModel):
    """Why a request was refused, in the words of KServe."""

    error: str


class Parameters(BaseModel):
    """How a tensor is sent."""

    model_config = ConfigDict(extra="ignore")

    binary_data_size: Annotated[int, Field(ge=1, le=MAX_SLAB_BYTES)] | None = None
    binary_data: bool = False


class InferInput(BaseModel):
    """The slab: Hounsfield units in canonical orientation, with its context slices."""

    name: Literal["slab"]
    shape: tuple[Size, Size, Size]
    datatype: Literal["FP32"]
    data: list[Any] | None = Field(None, description="Numbers, flat or nested.")
    parameters: Parameters = Parameters()


class InferOutput(BaseModel):
    """What is asked for."""

    name: Literal["labels", "probability"]
    parameters: Parameters = Parameters()


class RequestParameters(BaseModel):
    """How all outputs are sent."""

    model_config = ConfigDict(extra="ignore")

    binary_data_output: bool = False


class InferRequest(BaseModel):
    """The request of KServe v2."""

    id: str = Field("", max_length=200)
    inputs: list[InferInput] = Field(min_length=1, max_length=1)
    outputs: list[InferOutput] = Field(
        default_factory=lambda: [InferOutput(name="labels")], min_length=1, max_length=2
    )
    parameters: RequestParameters = RequestParameters()


_SCHEMA = InferRequest.model_json_schema(ref_template="#/components/schemas/{model}")
DEFINITIONS: dict[str, Any] = _SCHEMA.pop("$defs")
"""Parts of the request's schema, for the components of OpenAPI."""
_BODY = {"required": True, "content": {"application/json": {"schema": _SCHEMA}}}


class KServeRoutes:
    """The routes of the model `lits`."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self.router = APIRouter(prefix="/v2", tags=["KServe v2"])
        add = self.router.add_api_route
        busy = _refusals({503: "No worker is ready."})
        add("", self.server, methods=["GET"])
        add("/health/live", self.live, methods=["GET"])
        add("/health/ready", self.ready, methods=["GET"], responses=busy)
        add("/models/lits", self.model, methods=["GET"])
        add("/models/lits/ready", self.ready, methods=["GET"], responses=busy)
        refused = _refusals(
            {
                400: "The request is malformed, or the model does not take the slab.",
                413: "The slab is too large.",
                504: "The slab took too long.",
            }
        )
        add(
            *("/models/lits/infer", self.infer),
            methods=["POST"],
            response_model=dict[str, Any],
            openapi_extra={"requestBody": _BODY},
            responses=busy | refused,
        )

    def server(self) -> dict[str, Any]:
        """What the server speaks."""
        return {"name": "lits-serve", "version": "2", "extensions": ["binary_tensor_data"]}

    def live(self) -> dict[str, bool]:
        """Whether the server answers."""
        return {"live": True}

    def ready(self) -> dict[str, bool]:
        """Whether a slab that is sent now would be run."""
        if not self._dispatcher.is_ready:
            raise HTTPException(503, "no worker is ready: try again later")
        return {"ready": True}

    def model(self) -> dict[str, Any]:
        """Inputs and outputs of the model."""
        classes = len(self._dispatcher.model.metadata.classes)
        slab, labels = [-1, -1, -1], [-1, -1, -1]
        return {
            "name": "lits",
            "versions": ["1"],
            "platform": "onnxruntime_onnx",
            "inputs": [{"name": "slab", "datatype": "FP32", "shape": slab}],
            "outputs": [
                {"name": "labels", "datatype": "UINT8", "shape": labels},
                {"name": "probability", "datatype": "FP32", "shape": [-1, classes, -1, -1]},
            ],
        }

    async def infer(self, request: Request) -> Response:
        """Run a slab. It does not wait for the job in hand."""
        body = await _body(request)
        asked, slab = await run_in_threadpool(_parsed, body, request.headers.get(_SPLIT))
        names = tuple(output.name for output in asked.outputs)
        answer = self._dispatcher.ask(Infer(slab, names))
        if answer is None:
            raise HTTPException(503, "no worker is ready: try again later")
        try:
            found = await asyncio.wait_for(asyncio.wrap_future(answer), _WAIT_S)
        except ValueError as error:
            raise HTTPException(400, brief(error)) from None
        except ConnectionError as error:
            raise HTTPException(503, f"{error}: try again later") from None
        except TimeoutError:
            raise HTTPException(504, f"the slab took more than {_WAIT_S:g} s") from None
        return await run_in_threadpool(_answer, asked, found)


def _refusals(reasons: dict[int, str]) -> dict[int | str, dict[str, Any]]:
    return {
        status: {"model": InferRefusal, "description": reason} for status, reason in reasons.items()
    }


async def _body(request: Request) -> bytes:
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > 2 * MAX_SLAB_BYTES:
                raise HTTPException(413, f"a request of more than {2 * MAX_SLAB_BYTES} bytes")
    except ClientDisconnect:
        raise HTTPException(400, "the sender hung up") from None
    return bytes(body)


def _parsed(body: bytes, split: str | None) -> tuple[InferRequest, Tensor]:
    end = len(body)
    if split is not None:
        if not (split.isascii() and split.isdigit() and int(split) <= end):
            raise HTTPException(400, "Inference-Header-Content-Length: expected a part of the body")
        end = int(split)
    try:
        asked = InferRequest.model_validate(json.loads(body[:end]))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise HTTPException(400, brief(f"{place}: {first['msg']}")) from None
    except (ValueError, RecursionError):
        raise HTTPException(400, "the request is not JSON") from None
    return asked, _slab(asked.inputs[0], body[end:])


def _slab(given: InferInput, binary: bytes) -> Tensor:
    size = 4 * math.prod(given.shape)
    if size > MAX_SLAB_BYTES:
        raise HTTPException(413, f"a slab of {size} bytes, expected at most {MAX_SLAB_BYTES}")
    if given.data is None:
        content = binary
    else:
        try:
            numbers = array.array("f", _numbers(given.data))
        except (TypeError, OverflowError):
            raise HTTPException(400, "data: expected numbers, flat or nested") from None
        content = _little_endian(numbers)
    if len(content) != size:
        raise HTTPException(400, f"the slab has {len(content)} bytes, its shape needs {size}")
    return Tensor("float32", given.shape, content)


def _numbers(data: list[Any], depth: int = _DEPTH) -> Iterator[Any]:
    for value in data:
        if isinstance(value, list) and depth > 1:
            yield from _numbers(value, depth - 1)
        else:
            yield value


def _answer(asked: InferRequest, found: tuple[Tensor, ...]) -> Response:
    outputs, binary = [], []
    for output, tensor in zip(asked.outputs, found, strict=True):
        shown: dict[str, Any] = {
            "name": output.name,
            "datatype": _DATATYPES[tensor.datatype],
            "shape": list(tensor.shape),
        }
        if output.parameters.binary_data or asked.parameters.binary_data_output:
            shown["parameters"] = {"binary_data_size": len(tensor.content)}
            binary.append(tensor.content)
        else:
            shown["data"] = _values(tensor)
        outputs.append(shown)
    named = {"model_name": "lits", "model_version": "1", "outputs": outputs}
    text = json.dumps(named | ({"id": asked.id} if asked.id else {})).encode()
    if not binary:
        return Response(text, media_type="application/json")
    headers = {"Inference-Header-Content-Length": str(len(text))}
    return Response(b"".join([text, *binary]), headers=headers, media_type=_BINARY)


_BINARY = "application/octet-stream"


def _values(tensor: Tensor) -> list[Any]:
    values = array.array(_CODES[tensor.datatype], tensor.content)
    if sys.byteorder == "big":
        values.byteswap()
    return values.tolist()


def _little_endian(numbers: "array.array[float]") -> bytes:
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()
