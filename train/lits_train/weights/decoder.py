"""What a decoder from elsewhere does, as far as names and shapes say it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from lits_train.weights.layers import Unit, gap

_UP_NAME = re.compile(r"up|deconv|convt|transpose", re.IGNORECASE)
_MOST_UNITS = 100
_LONGEST_BLOCK = 4
"""Convolutions that may repeat themselves in the same order."""
_UP_KERNELS, _CONV_KERNELS = (2, 3, 4), (1, 3, 5, 7)


class NoDecoder(ValueError):
    """The convolutions do not follow from each other."""

    def __init__(self, reason: str, at: int) -> None:
        super().__init__(reason)
        self.at = at
        """Index of the convolution that does not fit."""


@dataclass
class Decoder:
    """A decoder that was found."""

    layers: list[str] = field(default_factory=list)
    """As in the recipe's setting `decoder_layers`."""
    assumed: list[str] = field(default_factory=list)
    """What names and shapes do not say."""

    def assume(self, what: str) -> None:
        """Add an assumption once."""
        if what not in self.assumed:
            self.assumed.append(what)


class _Reader:
    """Follows the features through the convolutions."""

    def __init__(self, units: Sequence[Unit], encoder_channels: Sequence[int]) -> None:
        self.units, self.encoder_channels = units, encoder_channels
        self.channels, self.stage = encoder_channels[-1], len(encoder_channels)
        self.decoder = Decoder()
        self.transposed = self._kinds()
        self.missing = self.stage - sum(self.transposed)
        """Doublings that must be made by layers without weights."""

    def read(self, leading: int | None) -> Decoder:
        if leading and self.missing > 0:
            self._enlarge()
        for at, unit in enumerate(self.units):
            self._take(at, unit)
            if at + 1 < len(self.units):
                self._between(at)
        if self.stage:
            size = f"1/{2**self.stage}"
            self.decoder.assume(f"the logits have {size} of the working size")
        return self.decoder

    def _kinds(self) -> list[bool]:
        """Which convolutions are transposed.

        Where a shape leaves both open, blocks repeat themselves so as to double the size five
        times; if that does not settle it, the convolution is plain.
        """
        known = [self._is_transposed(at) for at in range(len(self.units))]
        if None not in known:
            return [bool(one) for one in known]
        self.decoder.assume(
            "square 3 x 3 convolutions are transposed where blocks that repeat themselves need it"
        )
        body = known[:-1]
        for period in range(1, _LONGEST_BLOCK + 1):
            block = [set(body[start::period]) - {None} for start in range(period)]
            regular = [block[at % period] == {True} for at in range(len(body))]
            if all(len(one) < 2 for one in block) and sum(regular) == self.stage:
                return [*regular, bool(known[-1])]
        return [bool(one) for one in known]

    def _is_transposed(self, at: int) -> bool | None:
        """By shape: the inputs of a transposed convolution come first. None: it may be either."""
        first, second, kernel, _ = self.units[at].weight.shape
        if kernel not in _UP_KERNELS:
            return False
        if first == second and kernel == 3:
            named = _UP_NAME.search(self.units[at].name.rpartition(".")[2])
            return True if named else None
        if first == second:
            return True
        if (outputs := self._stated_outputs(at)) is not None:
            return outputs == second
        inputs = self._outputs(at - 1) if at else self.encoder_channels[-1]
        return bool(first == inputs and second != inputs)

    def _stated_outputs(self, at: int) -> int | None:
        """The output channels by the bias or the norm of a convolution."""
        unit = self.units[at]
        stated = unit.bias if unit.bias is not None else unit.norm.get("running_mean")
        return None if stated is None else int(stated.numel())

    def _outputs(self, at: int) -> int:
        stated = self._stated_outputs(at)
        if stated is None:
            return int(self.units[at].weight.shape[1 if self._is_transposed(at) else 0])
        return stated

    def _take(self, at: int, unit: Unit) -> None:
        first, second, *kernel = unit.weight.shape
        inputs, outputs = (first, second) if self.transposed[at] else (second, first)
        sizes = _UP_KERNELS if self.transposed[at] else _CONV_KERNELS
        if kernel[0] != kernel[1] or kernel[0] not in sizes:
            raise NoDecoder(f"a kernel of {kernel[0]} x {kernel[1]}", at)
        if inputs != self.channels:
            skip = self._skip()
            if self.transposed[at] or not skip or inputs != self.channels + skip:
                raise NoDecoder(f"{inputs} input channels, expected {self.channels}", at)
            self.decoder.layers.append("skip")
            self.decoder.assume("skips are concatenated behind the decoder's features")
        if unit.bias is not None and unit.bias.shape != (outputs,):
            raise NoDecoder(f"a bias of {tuple(unit.bias.shape)}, expected {outputs}", at)
        if any(tensor.shape != (outputs,) for tensor in unit.norm.values()):
            raise NoDecoder(f"a norm of another width than {outputs}", at)
        kind = "up" if self.transposed[at] else "conv"
        self.decoder.layers.append(f"{kind}{kernel[0]} {outputs}")
        if unit.norm:
            self.decoder.layers.append("norm")
        self.channels = outputs
        if self.transposed[at]:
            self._double(at)
            if kernel[0] > 2:
                padding = ", output_padding 1" if kernel[0] == 3 else ""
                self.decoder.assume(
                    f"{kernel[0]} x {kernel[0]} transposed convolutions have stride 2, padding 1"
                    f"{padding}"
                )

    def _skip(self) -> int:
        """Channels of the encoder's stage of the features' size; 0 without one."""
        reached = 0 < self.stage < len(self.encoder_channels)
        return self.encoder_channels[self.stage - 1] if reached else 0

    def _between(self, at: int) -> None:
        """What lies behind a convolution without weights of its own."""
        between = gap(self.units[at].last, self.units[at + 1].name)
        if between is None:
            self.decoder.assume(
                "ReLU after each convolution, but not between a transposed convolution and the "
                "convolution behind it"
            )
            plain = self.transposed[at] and not self.units[at].norm
            if not (plain and not self.transposed[at + 1]) or at + 2 == len(self.units):
                self.decoder.layers.append("relu")
        elif between:
            self.decoder.layers.append("relu")
            self.decoder.assume("what the numbers of its layers leave room for is ReLU")
            if between > 1 and self.missing > 0:
                self._enlarge()
            elif between > 1:
                self.decoder.assume("a second layer without weights has no effect (dropout)")

    def _enlarge(self) -> None:
        self.missing -= 1
        self.decoder.layers.append("bilinear")
        self.decoder.assume(
            "what enlarges without weights is bilinear (nearest, bilinear-corners by --set "
            "decoder_layers)"
        )
        self._double(0)

    def _double(self, at: int) -> None:
        self.stage -= 1
        if self.stage < 0:
            raise NoDecoder("the layers enlarge beyond the working size", at)


def read_decoder(
    units: Sequence[Unit], encoder_channels: Sequence[int], leading: int | None
) -> Decoder:
    """The layers of a decoder, from its convolutions in order.

    Args:
        units: the last is the head.
        encoder_channels: of the encoder's stages, each half the size of the one before.
        leading: layers without weights before the first convolution; None if that is not known.

    Raises:
        NoDecoder: channels, kernels or sizes do not follow from each other.
    """
    if not 0 < len(units) <= _MOST_UNITS:
        raise NoDecoder(f"{len(units)} convolutions behind the encoder, expected some", 0)
    return _Reader(units, encoder_channels).read(leading)
