"""AP by size, against hand-made detections."""

import math
import sys

import pytest
from errors_set import Box, detections, random_detections

from yolograft.analysis.size_ap import size_ap
from yolograft.errors import GraftError

SMALL: Box = (0, 0, 20, 20)
MEDIUM: Box = (50, 50, 100, 100)
LARGE: Box = (80, 80, 190, 190)


def test_without_the_package_one_line_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    with pytest.raises(GraftError, match=r'pip install "yolograft\[inside\]"'):
        size_ap(detections([], []))


class TestWithThePackage:
    @pytest.fixture(autouse=True)
    def _package(self) -> None:
        pytest.importorskip("faster_coco_eval", reason="faster-coco-eval is not installed")

    def test_each_size_alone(self) -> None:
        truths = [(0, 0, SMALL), (0, 0, MEDIUM), (1, 0, LARGE)]
        found = size_ap(detections([(0, 0, SMALL, 0.9), (1, 0, LARGE, 0.8)], truths))
        assert found.objects == {"all": 3, "small": 1, "medium": 1, "large": 1}
        assert found.ap["small"] == pytest.approx(1)
        assert found.ap["medium"] == 0
        assert found.ap["large"] == pytest.approx(1)
        assert found.ap["all"] == pytest.approx(2 / 3, abs=0.01)

    def test_a_size_without_objects_has_no_number(self) -> None:
        found = size_ap(detections([(0, 0, SMALL, 0.9)], [(0, 0, SMALL)]))
        assert math.isnan(found.ap["large"])
        assert found.ap["all"] == pytest.approx(1)

    def test_no_detections_and_no_objects(self) -> None:
        assert size_ap(detections([], [(0, 0, SMALL)])).ap["small"] == 0
        assert math.isnan(size_ap(detections([(0, 0, SMALL, 0.9)], [])).ap["all"])

    def test_nothing_is_printed(self, capsys: pytest.CaptureFixture[str]) -> None:
        size_ap(random_detections(0))
        assert capsys.readouterr().out == ""
