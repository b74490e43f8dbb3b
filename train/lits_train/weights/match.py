"""A RegNetY-400MF and the decoder behind it, found in the content of a weight file."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lits_runtime.errors import CheckpointError
from lits_runtime.messages import brief
from lits_train.weights.decoder import Decoder, NoDecoder, read_decoder
from lits_train.weights.encoder import Encoder, find_encoder
from lits_train.weights.layers import NotALayer, Unit, modules_of, orders, units_of
from lits_train.weights.leftovers import input_norm, without_extras
from lits_train.weights.state_dict import Found, find_state_dict, usable
from lits_train.weights.tables import unmatched_table

logger = logging.getLogger(__name__)

_LAYERS = "give the layers with --set decoder_layers=..."
_MODULE = "give the module itself with --module FILE.py:NAME"


@dataclass(frozen=True)
class Match:
    """What was found in a file."""

    found: Found
    encoder: Encoder
    units: list[Unit]
    """Convolutions behind the encoder, in order; the last is the head."""
    decoder: Decoder
    ignored: list[str]
    """Names of tensors that do nothing to the logits."""
    norm: dict[str, Tensor]
    """"mean" and "std" of the input, where the file holds them."""


def find_match(
    content: Any,
    key: str,
    layers: Sequence[str],
    expected: Mapping[str, Tensor],
    encoder_channels: Sequence[int],
) -> Match:
    """Find encoder and decoder.

    Args:
        content: of the file.
        key: see `find_state_dict`.
        layers: those of the decoder if the user stated them, else empty.
        expected: the tensors of our encoder.
        encoder_channels: of the encoder's stages.

    Raises:
        CheckpointError: there is no such network in the file.
    """
    found = find_state_dict(content, key)
    if found is None:
        shown = brief(sorted(map(str, content))[:5] if isinstance(content, dict) else type(content))
        raise CheckpointError(f"holds {shown}; expected a checkpoint of lits-train or a state dict")
    if odd := [name for name, tensor in found.tensors.items() if not usable(tensor)]:
        raise CheckpointError(f"{brief(odd[0])} does not hold plain finite numbers")
    tensors = in_float32(found.tensors)
    encoder = find_encoder(tensors, expected)
    rest, ignored = without_extras({k: v for k, v in tensors.items() if k not in encoder.used})
    norm = input_norm(rest)
    rest = {name: tensor for name, tensor in rest.items() if name not in norm}
    if not rest:
        raise CheckpointError(
            "a plain RegNetY without a decoder: start a training from it with lits-train "
            "--weights FILE"
        )
    units, decoder = _decoder(rest, encoder, layers, encoder_channels)
    plain = {name.rpartition(".")[2].removeprefix("pixel_"): one for name, one in norm.items()}
    return Match(found, encoder, units, decoder, ignored, plain)


def in_float32(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, those of other floating-point types converted."""
    return {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }


def _decoder(
    rest: Mapping[str, Tensor],
    encoder: Encoder,
    layers: Sequence[str],
    encoder_channels: Sequence[int],
) -> tuple[list[Unit], Decoder]:
    """The convolutions behind the encoder, in the first order in which they make a decoder."""
    modules = modules_of(rest)
    reasons: list[tuple[str, list[Unit], int, str]] = []
    for order, assumed in orders(modules):
        units: list[Unit] = []
        try:
            units = units_of(modules, order)
            if layers:
                return units, Decoder(list(layers))
            decoder = read_decoder(units, encoder_channels, _leading(units, encoder))
        except NoDecoder as error:
            reasons.append((str(error), units, error.at, f"{_LAYERS}, or {_MODULE}"))
        except NotALayer as error:
            reasons.append((str(error), units, 0, _MODULE))
        else:
            if assumed:
                decoder.assume(assumed)
            return units, decoder
    reason, units, at, remedy = max(reasons, key=lambda one: one[2])  # that went furthest
    logger.error("%s", unmatched_table(modules, units, at))
    where = f"layer {brief(units[at].name)}: " if units else ""
    raise CheckpointError(f"its decoder is not known here: {where}{brief(reason)}; {remedy}")


def _leading(units: Sequence[Unit], encoder: Encoder) -> int | None:
    """Layers without weights before the first convolution, if numbers say so."""
    row, _, number = units[0].name.rpartition(".") if units else ("", "", "")
    if not number.isdecimal():
        return None
    start = f"{row}." if row else ""
    siblings = {
        int(part)
        for name in encoder.used
        if name.startswith(start)
        and (part := name.removeprefix(start).partition(".")[0]).isdecimal()
    }
    return int(number) - max(siblings, default=-1) - 1
