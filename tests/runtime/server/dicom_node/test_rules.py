"""Which series are taken: rules as they are read, and as they judge."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from lits_runtime.errors import OptionsError
from lits_runtime.server.dicom_node.receiving.rules import Rule, Rules


@dataclass(frozen=True)
class Facts:
    modality: str = "CT"
    body_part: str = "ABDOMEN"
    description: str = "Abdomen portal venös\nCT Abdomen"
    calling_ae: str = "PACS"


def read(folder: Path, text: str) -> Rules:
    path = folder / "rules.toml"
    path.write_text(text)
    return Rules.read(path)


def test_without_rules_ct_of_ten_images_is_taken() -> None:
    assert Rules().refusal(Facts(), 10) is None
    assert Rules().refusal(Facts(), 9) == "9 images, fewer than 10"
    assert Rules().refusal(Facts(modality="MR"), 99) == "modality is not CT"


@pytest.mark.parametrize(
    "text, facts, refusal",
    [
        ('body_part = ["liver", "abdomen"]', Facts(), None),
        ('body_part = ["LIVER"]', Facts(), "other body part"),
        ('body_part = ["LIVER", ""]', Facts(body_part=""), None),
        ('description = "PORTAL"', Facts(), None),
        ('description = "^CT"', Facts(), "description does not match"),
        ('not_description = "ven.s"', Facts(), "description is excluded"),
        ('calling_ae = ["CT1"]', Facts(), "other sender"),
        ("minimum_images = 21", Facts(), "20 images, fewer than 21"),
        ('modality = ["ct", "PT"]', Facts(modality="PT"), None),
    ],
)
def test_each_key(text: str, facts: Facts, refusal: str | None, tmp_path: Path) -> None:
    assert read(tmp_path, f"[[rule]]\n{text}\n").refusal(facts, 20) == refusal


def test_one_of_several_rules_is_enough_and_else_each_says_why(tmp_path: Path) -> None:
    rules = read(tmp_path, '[[rule]]\nname = "a"\nbody_part = ["LIVER"]\n[[rule]]\n')
    assert rules.refusal(Facts(), 20) is None
    assert rules.refusal(Facts(), 5) == "a: other body part; rule 2: 5 images, fewer than 10"


@pytest.mark.parametrize(
    "text, message",
    [
        ("[[rule", "not TOML"),
        ("", "expected tables"),
        ('rule = "all"', "expected tables"),
        ("[[rule]]\n[other]\n", "expected tables"),
        ("[[rule]]\nbodypart = []\n", "no key 'bodypart'; expected name, modality"),
        ('[[rule]]\nmodality = "CT"\n', "modality is not a list of texts"),
        ("[[rule]]\nbody_part = [1]\n", "body_part is not a list of texts"),
        ("[[rule]]\nminimum_images = true\n", "minimum_images is not a whole number"),
        ('[[rule]]\ndescription = "("\n', "description is no regular expression"),
    ],
)
def test_a_mistake_is_named(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(OptionsError, match=message):
        read(tmp_path, text)


def test_the_rules_of_the_documents_can_be_read(tmp_path: Path) -> None:
    page = (Path(__file__).parents[4] / "docs/serve/node.md").read_text("utf-8")
    (text,) = (block.partition("```")[0] for block in page.split("```toml\n")[1:])
    assert read(tmp_path, text).rules[0] == Rule(
        "portal venous abdomen",
        *(("CT",), ("ABDOMEN", "LIVER", ""), "portal|venous|abd", "scout|lung|bone", 40),
        ("PACS",),
    )
