"""Every form of a site, on YOLO hosts and on other modules."""

import pytest
import torch
from torch import nn
from ultralytics.nn.tasks import DetectionModel

import yolograft
from yolograft import YOLO
from yolograft import sites as public_sites
from yolograft.errors import SiteError
from yolograft.sites import resolve, sites
from yolograft.spec import Site


@pytest.fixture(scope="module")
def host() -> nn.Module:
    return DetectionModel("yolo11n.yaml", verbose=False)


FORMS = {
    "8": ["model.8"],
    "backbone.8": ["model.8"],
    "backbone.-3": ["model.8"],
    "neck.16": ["model.16"],
    "neck.-1": ["model.22"],
    "p3": ["model.16"],
    "p5": ["model.22"],
    "backbone.C3k2": ["model.2", "model.4", "model.6", "model.8"],
    "C3k2[-1]": ["model.22"],
    "neck.C3k2[0]/pre": ["model.13/pre"],
    "backbone.6.m.0": ["model.6.m.0"],
    "6.m.0": ["model.6.m.0"],
    "model.2.m.0.cv2": ["model.2.m.0.cv2"],
    "backbone.2.**.cv2": ["model.2.cv2", "model.2.m.0.cv2"],
    "model.2.*": ["model.2.cv1", "model.2.cv2", "model.2.m"],
    "SPPF.cv1": ["model.9.cv1"],
    "backbone.Bottleneck.cv2[0]": ["model.2.m.0.cv2"],
    "16>17": ["model.16"],
}


@pytest.mark.parametrize(("text", "modules"), FORMS.items())
def test_each_form_resolves_to_its_modules(host: nn.Module, text: str, modules: list[str]) -> None:
    assert [str(place) for place in resolve(host, Site.parse(text))] == modules


def test_a_class_inside_rows_is_found_everywhere(host: nn.Module) -> None:
    expected = [f"{name}.cv2" for name, module in host.named_modules() if type(module).__name__ == "Bottleneck"]
    assert [place.module for place in resolve(host, Site.parse("Bottleneck.cv2"))] == expected
    assert len(expected) == 11


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("backbne.8", "Did you mean 'backbone.8'"),
        ("backbone.12", "its backbone has rows 0 to 10. Did you mean 'neck.12'"),
        ("99", "a block can follow rows 0 to 22"),
        ("-3", "Did you mean 'backbone.-3'"),
        ("backbone.-30", "its backbone has 11 rows"),
        ("p9", "reads the edges 'p3', 'p4', 'p5'"),
        ("C3k3", "Did you mean 'C3k"),
        ("C3k2[9]", "index goes from -8 to 7"),
        ("8>22", "row 22 of yolo11n does not read row 8"),
        ("backbone", "names the whole backbone"),
        ("p3/pre", "already the input of the head"),
        ("nothing.like.this", "yolograft sites model=yolo11n.yaml"),
    ],
)
def test_an_unknown_site_raises_an_error_with_a_hint(host: nn.Module, text: str, hint: str) -> None:
    with pytest.raises(SiteError) as caught:
        resolve(host, Site.parse(text))
    assert hint in str(caught.value)


def test_listed_names_resolve_to_their_row(host: nn.Module) -> None:
    listed = sites(host)
    assert [site["row"] for site in listed] == list(range(23))
    for site in listed:
        for name in site["names"]:
            assert [place.module for place in resolve(host, Site.parse(name))] == [site["module"]], name


def test_the_module_sites_is_callable_as_the_public_function(host: nn.Module) -> None:
    assert public_sites(host) == sites(host)


def test_listing_sites_does_not_change_the_host(host: nn.Module) -> None:
    before = {key: value.clone() for key, value in host.state_dict().items()}
    training = [module.training for module in host.modules()]
    sites(host)
    assert all(torch.equal(value, before[key]) for key, value in host.state_dict().items())
    assert [module.training for module in host.modules()] == training
    assert not any(module._forward_hooks for module in host.modules())


def test_any_module_has_sites() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.Sequential(nn.BatchNorm2d(8), nn.ReLU()), nn.Flatten())
    assert [site["module"] for site in sites(net)] == ["0", "1", "1.0", "1.1"]
    assert [str(place) for place in resolve(net, Site.parse("BatchNorm2d"))] == ["1.0"]


@pytest.mark.parametrize("site", ["neck", "neck.-1", "neck.3", "neck.C3k2"])
def test_a_model_without_a_neck_says_so(site: str) -> None:
    host = YOLO("yolo11n-cls.yaml").model
    with pytest.raises(SiteError, match=rf"No site '{site}' in yolo11n-cls: it has no neck. Did you mean 'backbone.-1'"):
        yolograft.graft(host, f"se@{site}")
