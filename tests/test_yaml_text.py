"""YAML files as people save them: what stock Ultralytics opens is opened, and each mistake is named by line and column."""

import contextlib

import pytest
import yaml
from ultralytics.nn import tasks

from yolograft import yaml_text
from yolograft.cli import main
from yolograft.errors import DataError, GraftError, HostError
from yolograft.modelyaml import catalog, load
from yolograft.modelyaml.lint import examine

SMALL = """\
# 钢材表面裂纹检测
nc: 3  # 类别数
depth_multiple: 0.33
backbone:
  - [-1, 1, Conv, [16, 3, 2]]  # 第一层
  - [-1, 1, SE, [16]]
head:
  - [[-1], 1, Detect, [nc]]
"""
ENCODINGS = ["utf-8", "utf-8-sig", "gbk", "gb18030", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_file_in_any_encoding_has_the_same_content(encoding, newline, tmp_path):
    file = tmp_path / "yolo11-se.yaml"
    file.write_bytes(SMALL.replace("\n", newline).encode(encoding))
    assert yaml_text.read(file).value == yaml.safe_load(SMALL)
    assert load.load(file)["backbone"] == yaml.safe_load(SMALL)["backbone"]
    assert examine(file).errors == 0


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_whatever_stock_opens_is_opened_with_the_same_rows(encoding, tmp_path):
    file = tmp_path / "yolo11-se.yaml"
    file.write_bytes(SMALL.encode(encoding))
    try:
        stock = tasks.yaml_model_load(file)
    except (ValueError, UnicodeError, yaml.YAMLError, TypeError):
        stock = None
    if isinstance(stock, dict) and "backbone" in stock:
        assert {key: load.load(file)[key] for key in ("backbone", "head", "nc")} == {
            key: stock[key] for key in ("backbone", "head", "nc")}


def test_every_packaged_file_is_read_as_stock_reads_it():
    for path in catalog.packaged_files():
        stock = tasks.yaml_model_load(path)
        assert {**yaml_text.read(path).value, "scale": stock["scale"], "yaml_file": stock["yaml_file"]} == stock


@pytest.mark.parametrize(("text", "line", "column", "said"), [
    (SMALL.replace("nc: 3", "nc：3"), 2, 3, "Write ': '"),
    (SMALL.replace("[-1, 1, SE", "[-1， 1, SE"), 6, 8, "Write ', '"),
    (SMALL.replace("[-1, 1, SE", "【-1, 1, SE"), 6, 5, "Write '['"),
    (SMALL.replace("backbone:", "backbone："), 4, 9, "Write ': '"),
    (SMALL.replace("  - [-1, 1, SE", "\t- [-1, 1, SE"), 6, 1, "a tab"),
    (SMALL.replace("nc: 3", "nc:3"), 2, 4, "no blank after the colon"),
    (SMALL.replace("[16]]\n", "[16]\n"), 6, 20, "bracket"),
    (SMALL.replace("[16, 3, 2]]", "[16, 3, 2]]]"), 5, 30, "bracket"),
])
def test_a_mistake_is_named_by_line_column_and_remedy(text, line, column, said, tmp_path):
    file = tmp_path / "yolo11-se.yaml"
    file.write_text(text, encoding="utf-8")
    for opened in (load.load, examine):
        with pytest.raises(HostError) as caught:
            opened(file)
        assert f"line {line}, column {column}: " in str(caught.value)
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)


def test_full_width_characters_in_comments_and_quotes_are_no_mistake(tmp_path):
    text = "# 注释：一，二\nnames: ['裂纹，大', \"划痕：小\"]  # 名称，英文\npath: a#b\n"
    assert [*yaml_text.find_full_width(text)] == []
    assert [str(one) for one in yaml_text.find_full_width("nc: ８")] == [
        "line 1, column 5: '８' is a full-width character. Write '8'"]


@pytest.mark.parametrize(("encoding", "names", "is_lossy"), [
    ("utf-8", "[裂纹, 划痕]", False), ("gbk", "[裂纹, 划痕]", True), ("gbk", "[crack, scratch]", False),
    ("utf-16", "[裂纹]", True), ("cp1252", "[café au lait]", True),
])
def test_a_data_file_says_whether_ultralytics_would_lose_characters(encoding, names, is_lossy, tmp_path):
    file = tmp_path / "data.yaml"
    file.write_bytes(f"train: images\nval: images\nnames: {names}\n".encode(encoding))
    content = yaml_text.read(file)
    assert content.is_lossy == is_lossy
    assert content.value["names"] == yaml.safe_load(names)


def test_a_gbk_comment_does_not_make_a_data_file_lossy(tmp_path):
    file = tmp_path / "data.yaml"
    file.write_bytes("# 数据\ntrain: images\n".encode("gbk"))
    assert not yaml_text.read(file).is_lossy


def test_a_key_with_a_full_width_colon_is_named(tmp_path):
    file = tmp_path / "data.yaml"
    file.write_text("path: x\nval: y\n'train：': z\nbad： x: 1\n".replace("bad： x: 1\n", ""), encoding="utf-8")
    yaml_text.check_keys(file, yaml_text.read(file), ["train"])  # quoted: no punctuation to blame
    file.write_text("{train： images, val: y}\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"no 'train'\. line 1, column 7"):
        yaml_text.check_keys(file, yaml_text.read(file), ["train"])


@pytest.mark.parametrize("names", ["names: [裂纹，划痕]", "names:\n  0： 裂纹\n  1： 划痕", "names:\n  - 裂纹：大"])
def test_class_names_that_full_width_punctuation_joins_are_named(names, tmp_path):
    file = tmp_path / "data.yaml"
    file.write_text(f"train: x\nval: y\n{names}\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"line \d, column \d+: '[，：]' is a full-width character"):
        yaml_text.check_keys(file, yaml_text.read(file), ["train"])


def test_quoted_class_names_may_have_full_width_punctuation(tmp_path):
    file = tmp_path / "data.yaml"
    file.write_text("train: x\nval: y\nnames: ['裂纹，大', 划痕（小）]\n", encoding="utf-8")
    yaml_text.check_keys(file, yaml_text.read(file), ["train", "val"])


@pytest.mark.parametrize(("raw", "said"), [
    ("train: x\nval: y\nnames: [裂纹]\n".encode("gbk"), "encoded in gbk"),
    ("train： x\nval: y\n".encode(), "line 1, column 6"), (b"train: x\n\tval: y\n", "line 2, column 1"),
    ("train: x\nval: y\nnames: [裂纹，划痕]\n".encode(), "one class name"),
])
def test_a_training_names_the_mistake_in_its_data_file_before_it_starts(raw, said, tmp_path, capsys):
    file = tmp_path / "mine.yaml"
    file.write_bytes(raw)
    assert main(["train", "model=yolo11n.yaml", f"data={file}", "epochs=1"]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("raw", [b"", b"\xff", b"\xff\xfe", b"\x00", b"\x81", b"a: [", b"\xef\xbb\xbf", b": : :", b"*a",
                                 b"\t"])
def test_no_bytes_end_in_anything_but_a_graft_error(raw, tmp_path):
    file = tmp_path / "x.yaml"
    file.write_bytes(raw)
    for opened in (yaml_text.read, load.load, examine):
        with contextlib.suppress(GraftError):
            opened(file)


