import hashlib
import pickle
from pathlib import Path

import pytest
import torch
from torchvision.models import regnet_y_400mf

from lits_runtime import CheckpointError
from lits_train.network.segmentation_network import IMAGENET_URL, SegmentationNetwork
from lits_train.settings.recipe import BASELINE, DEFAULT
from support.hostile_checkpoints import Payload


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
    torch.save({"conv.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="not weights of RegNetY-400MF"):
        SegmentationNetwork(BASELINE).load_encoder(str(tmp_path / "other.pth"))
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(CheckpointError, match="not a weight file"):
        SegmentationNetwork(BASELINE).load_encoder(str(tmp_path / "text.pth"))
