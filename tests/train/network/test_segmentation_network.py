import hashlib
import pickle
from pathlib import Path

import pytest
import torch
from torchvision.models import regnet_y_400mf

from lits_runtime import CheckpointError
from lits_train.network.segmentation_network import IMAGENET_URL, SegmentationNetwork
from lits_train.settings.recipe import BASELINE, DEFAULT
from support.hostile.checkpoints import Payload


def test_imagenet_weights_come_from_torch_s_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(1)
    pretrained = regnet_y_400mf()
    torch.save(pretrained.state_dict(), tmp_path / "weights.pth")
    sha256 = hashlib.sha256((tmp_path / "weights.pth").read_bytes()).hexdigest()
    cached = tmp_path / f"hub/checkpoints/regnet_y_400mf-{sha256[:8]}.pth"
    cached.parent.mkdir(parents=True)
    (tmp_path / "weights.pth").rename(cached)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    address = IMAGENET_URL.replace(Path(IMAGENET_URL).name, cached.name)
    monkeypatch.setattr("lits_train.network.segmentation_network.IMAGENET_URL", address)
    network = SegmentationNetwork(BASELINE)
    network.load_encoder("imagenet")
    loaded = network.encoder.state_dict()
    assert torch.equal(loaded["0.0.weight"], pretrained.stem[0].weight)
    by_file = SegmentationNetwork(DEFAULT)
    by_file.load_encoder(str(cached))
    assert all(
        torch.equal(loaded[key], value) for key, value in by_file.encoder.state_dict().items()
    )


def test_a_forged_file_in_torch_s_cache_is_not_even_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = tmp_path / "hub/checkpoints" / Path(IMAGENET_URL).name
    cached.parent.mkdir(parents=True)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for content in (pickle.dumps(Payload(tmp_path / "ran"), 2), b"", bytes(100)):
        cached.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"SHA-256 begins with \w{8}, expected \w{8}: an"):
            SegmentationNetwork(BASELINE).load_encoder("imagenet")
    assert not (tmp_path / "ran").exists()
    monkeypatch.setattr(  # a file of that very hash may still hold code
        "lits_train.network.segmentation_network.IMAGENET_URL",
        f"x-{hashlib.sha256(pickle.dumps(Payload(tmp_path / 'ran'), 2)).hexdigest()[:8]}.pth",
    )
    forged = pickle.dumps(Payload(tmp_path / "ran"), 2)
    (cached.parent / f"x-{hashlib.sha256(forged).hexdigest()[:8]}.pth").write_bytes(forged)
    with pytest.raises(CheckpointError, match="none of its code was run"):
        SegmentationNetwork(BASELINE).load_encoder("imagenet")
    assert not (tmp_path / "ran").exists()


def test_no_network_names_the_file_and_the_flag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*args: object, **options: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", unreachable)
    with pytest.raises(CheckpointError) as error:
        SegmentationNetwork(BASELINE).load_encoder("imagenet")
    assert str(tmp_path / "hub/checkpoints/regnet_y_400mf-") in str(error.value)
    assert "--weights none" in str(error.value)


def test_other_weights_are_refused(tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.zeros(8, 3, 3, 3)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="no RegNetY-400MF in it"):
        SegmentationNetwork(BASELINE).load_encoder(str(tmp_path / "other.pth"))
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(CheckpointError, match="not a weight file"):
        SegmentationNetwork(BASELINE).load_encoder(str(tmp_path / "text.pth"))


def test_the_baseline_is_the_original_network() -> None:
    network = SegmentationNetwork(BASELINE)
    assert BASELINE.classes == ("lesion",)
    assert not BASELINE.window_hu
    assert BASELINE.size == 128
    with torch.no_grad():
        assert network.eval()(torch.rand(1, 3, 128, 128)).shape == (1, 1, 128, 128)
    kinds = [type(module).__name__ for module in network.decoder.modules()]
    assert kinds.count("ConvTranspose2d") == kinds.count("Conv2d") == kinds.count("ReLU") == 5
    assert "BatchNorm2d" not in kinds


def test_skip_connections_reach_the_decoder() -> None:
    recipe = DEFAULT.override(size=64)
    network = SegmentationNetwork(recipe).eval()
    widths = [stage.conv[0].in_channels for stage in network.decoder]  # type: ignore[union-attr, index]
    assert widths == [32 + 208, 24 + 104, 16 + 48, 16 + 32]


def test_a_subpixel_head_halves_the_stride() -> None:
    scaled = torch.rand(2, 3, 64, 64)
    for stages, size in ((4, 32), (3, 16)):
        recipe = DEFAULT.override(size=64, decoder_channels=(16, 16, 16, 16)[:stages])
        plain, subpixel = (
            SegmentationNetwork(one).eval()(scaled)
            for one in (recipe.override(subpixel_head=False), recipe)
        )
        assert plain.shape == (2, 2, size, size)
        assert subpixel.shape == (2, 2, 2 * size, 2 * size)
    with pytest.raises(ValueError, match="subpixel_head: five decoder stages"):
        recipe.override(decoder_channels=(16,) * 5)
