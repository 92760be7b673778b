import importlib
import inspect
import re
from typing import get_args
from urllib.parse import urlsplit

import pytest

from bottletop.backbones.networks import NETWORKS, Backbone, named, side_px
from bottletop.core.catalogue import WeightsEntry
from bottletop.core.errors import ParamsError
from bottletop.core.settings import load
from tests.tiny import ROOT, extract_params

ALLOWED = ", ".join(NETWORKS)


def test_an_unknown_backbone_is_refused_with_the_known_ones():
    with pytest.raises(ParamsError, match=f"extract.backbone must be one of {ALLOWED}, got 'vgg61'"):
        named("vgg61")


def test_so_it_is_in_params_yaml():
    with pytest.raises(ParamsError, match=r"extract.backbone must be one of .*; got vgg61: did you mean vgg1\d\?"):
        extract_params(backbone="vgg61")


def test_params_yaml_may_name_every_backbone():
    assert get_args(Backbone) == tuple(NETWORKS)


def test_params_yaml_names_every_backbone():
    [listed] = re.findall(r"# The backbone: ([^:]+)\n  backbone: vgg16\n", (ROOT / "params.yaml").read_text())
    assert re.findall(r"\w+", listed) == list(NETWORKS)


@pytest.mark.parametrize(
    ("backbone", "wanted", "of_dataset", "expected"),
    [
        ("vgg16", 160, 96, 160),
        ("vgg16", "auto", 96, 96),
        ("vgg16", "auto", "auto", 224),
        ("xception", "auto", "auto", 299),
        ("efficientnet_v2_s", "auto", "auto", 384),
        ("xception", "auto", 224, 224),
        ("xception", 71, 96, 71),
    ],
)
def test_the_side_is_what_is_wanted_else_the_datasets_else_the_backbones(backbone, wanted, of_dataset, expected):
    assert side_px(backbone, wanted, of_dataset) == expected


@pytest.mark.parametrize(("wanted", "of_dataset"), [(70, 224), ("auto", 64)])
def test_a_side_that_is_too_small_for_the_backbone_is_refused(wanted, of_dataset):
    got = min(side for side in (wanted, of_dataset) if side != "auto")
    with pytest.raises(ParamsError, match=f"xception takes images of 71 px or more, got {got}: .*such as to 299"):
        side_px("xception", wanted, of_dataset)


@pytest.mark.parametrize("backbone", [name for name, network in NETWORKS.items() if network.application])
def test_its_official_file_and_checksum_are_those_that_keras_publishes(backbone):
    module = importlib.import_module(
        f"keras.src.applications.{NETWORKS[backbone].module}".replace("resnet50", "resnet")
    )
    text = inspect.getsource(module).replace('"\n    "', "")
    source = load(WeightsEntry, backbone, ROOT / "weights.yaml").sources[0]
    folder, _, _ = source.url.rpartition("/")
    assert (urlsplit(source.url).hostname, folder in text) == ("storage.googleapis.com", True)
    assert f'"{source.md5 or source.sha256}"' in text
