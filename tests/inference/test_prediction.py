import csv
import io
import json
import os

import numpy as np
import pytest
import yaml
from PIL import Image

from bottletop.cli import main
from bottletop.core.terminal import visible
from bottletop.images import decoding
from bottletop.images.decoding import decode, square
from bottletop.inference import classifier, prediction
from bottletop.inference.classifier import Files
from tests.pictures import encode, jpeg, photo, png, write_folder
from tests.sample_models import CLASSES, SIDE, write_workspace


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workspace")
    write_workspace(folder)
    return folder


@pytest.fixture
def here(workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    return workspace


@pytest.fixture(scope="module")
def model(workspace):
    files = Files("flowers", workspace / "data/models/flowers", workspace / "data/weights/vgg16.npz")
    return classifier.load(files)


def expected(model, *pictures):
    """Probabilities of RGB images."""
    return model.probabilities(np.stack([square(picture, SIDE) for picture in pictures]))


def predict(model, folder, files):
    write_folder(folder, files)
    return list(prediction.predict([str(folder / name) for name in files], model))


def animated():
    return encode(photo(1), "GIF", save_all=True, append_images=[photo(2)])


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6  # the top of the picture is at the right
    return encode(photo(1).transpose(Image.Transpose.ROTATE_90), "PNG", exif=exif)


def transparent():
    picture = photo(1).convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    return encode(picture, "PNG")


def on_white():
    alpha = Image.linear_gradient("L").resize(photo(1).size)
    return Image.composite(photo(1), Image.new("RGB", photo(1).size, "white"), alpha)


GREYS = np.asarray(photo(1).convert("L"), np.uint16)


UNUSUAL = {
    "16 bits": (encode(Image.fromarray(GREYS * 257), "PNG"), Image.fromarray(GREYS.astype(np.uint8)).convert("RGB")),
    "CMYK": (encode(photo(1).convert("CMYK"), "TIFF"), photo(1)),
    "animated": (animated(), decode(encode(photo(1), "GIF"))),
    "turned by EXIF": (turned(), photo(1)),
    "transparent": (transparent(), on_white()),
    "palette": (encode(photo(1).quantize(), "PNG"), photo(1).quantize().convert("RGB")),
}


@pytest.mark.parametrize(("data", "seen"), UNUSUAL.values(), ids=UNUSUAL)
def test_an_unusual_picture_is_seen_as_people_see_it(model, tmp_path, data, seen):
    [outcome] = predict(model, tmp_path, {"picture": data})
    np.testing.assert_allclose(outcome.probabilities, expected(model, seen)[0], atol=2e-3)  # a level, from compositing


BAD = {
    "a page": (b"<html>", "a web page, not an image"),
    "nothing": (b"", "empty file"),
    "half": (jpeg(1, (200, 200))[:1500], "truncated or corrupt"),
    "a bit flipped": (png(1)[:400] + b"\xff" + png(1)[401:], "truncated or corrupt"),
    "100 megapixels": (encode(Image.new("L", (10_000, 10_000)), "PNG"), "too many pixels"),
    "a drawing": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG file: not read; convert it to PNG first"),
}


@pytest.mark.parametrize(("data", "reason"), BAD.values(), ids=BAD)
def test_what_is_no_picture_gets_a_reason_and_the_rest_of_the_batch_goes_on(model, tmp_path, data, reason):
    first, bad, last = predict(model, tmp_path, {"a.png": png(1), "b.png": data, "c.png": png(2)})
    assert (bad.error, bad.probabilities) == (reason, None)
    np.testing.assert_array_equal([first.probabilities, last.probabilities], expected(model, photo(1), photo(2)))


def test_a_batch_in_which_nothing_can_be_read_costs_no_other(model, tmp_path):
    outcomes = predict(model, tmp_path, {**{f"{n}.jpg": b"" for n in range(20)}, "z.png": png(1)})
    assert [outcome.error for outcome in outcomes] == ["empty file"] * 20 + [""]


def test_outcomes_are_in_the_order_given_over_many_batches(model, tmp_path):
    outcomes = predict(model, tmp_path, {f"{number:02}.png": png(number) for number in range(20)})
    assert [outcome.name[-6:] for outcome in outcomes] == [f"{number:02}.png" for number in range(20)]
    one_by_one = np.concatenate([expected(model, photo(number)) for number in range(20)])
    np.testing.assert_allclose([outcome.probabilities for outcome in outcomes], one_by_one, atol=1e-5)


def test_pictures_are_kept_small_and_only_where_asked_for(model, tmp_path):
    (tmp_path / "a.png").write_bytes(png(1, (1300, 650)))
    [with_it] = prediction.predict([str(tmp_path / "a.png")], model, pictures=True)
    [without] = prediction.predict([str(tmp_path / "a.png")], model)
    assert with_it.picture.size == (640, 320)
    assert without.picture is None
    np.testing.assert_array_equal(with_it.probabilities, without.probabilities)


def test_the_picture_is_decoded_as_the_pipeline_does(model, tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "MAX_PIXELS", 64 * 48 - 1)
    [outcome] = predict(model, tmp_path, {"a.png": png(1)})
    assert outcome.error == "too many pixels"


# The command


def test_class_names_are_printed_with_percentages_the_best_first(here, model, capsys):
    (here / "a.png").write_bytes(png(1))
    main(["predict", "a.png"])
    shares = sorted(zip(expected(model, photo(1))[0], CLASSES, strict=True), reverse=True)
    printed = capsys.readouterr().out
    assert printed.splitlines() == ["a.png", *(f"  {share:6.1%}  {name}" for share, name in shares)]


def test_top_limits_how_many_are_printed(here, capsys):
    (here / "a.png").write_bytes(png(1))
    main(["predict", "a.png", "--top", "1"])
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_json_is_one_array_with_the_best_first_and_reasons_where_there_is_no_prediction(here, model, capsys):
    write_folder(here / "mixed", {"a.png": png(1), "b.jpg": b"junk"})
    with pytest.raises(SystemExit, match=r"^bottletop: 1 of 2 images could not be read, see above$"):
        main(["predict", "mixed", "--json"])
    printed = capsys.readouterr()
    good, bad = json.loads(printed.out)
    shares = dict(zip(CLASSES, expected(model, photo(1))[0], strict=True))
    assert good["image"] == "mixed/a.png"
    assert good["class"] == max(shares, key=shares.get) == next(iter(good["probabilities"]))
    assert good["probabilities"] == {name: pytest.approx(share, abs=1e-6) for name, share in shares.items()}
    assert bad == {"image": "mixed/b.jpg", "error": "not an image"}
    assert printed.err == "model: flowers, trained here\nbottletop: mixed/b.jpg: not an image\n"


def test_csv_has_the_columns_of_predictions_csv(here, model, capsys):
    write_folder(here / "table", {"a, b.png": png(1), "c.jpg": b"junk"})
    with pytest.raises(SystemExit):
        main(["predict", "table", "--csv"])
    good, bad = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert list(good) == ["path", "predicted", *(f"p({name})" for name in CLASSES), "error"]
    assert [float(good[f"p({name})"]) for name in CLASSES] == pytest.approx(expected(model, photo(1))[0], abs=1e-6)
    assert (good["path"], good["error"]) == ("table/a, b.png", "")
    assert (bad["predicted"], bad["error"]) == ("", "not an image")


def test_csv_has_every_class_so_top_is_refused(here):
    with pytest.raises(SystemExit, match="--csv has a column for every class: leave out --top"):
        main(["predict", "a.png", "--csv", "--top", "2"])


def test_standard_input_is_an_image(here, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(png(1))))
    main(["predict", "-", "--json"])
    assert [entry["image"] for entry in json.loads(capsys.readouterr().out)] == ["-"]


def test_a_workspace_without_a_model_says_what_makes_one(tmp_path, monkeypatch):
    (tmp_path / "params.yaml").write_text("datasets: [flowers]")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"^bottletop: flowers has no trained model in data/models/flowers: run"):
        main(["predict", "a.png"])


def test_where_several_datasets_are_active_one_must_be_named(tmp_path, monkeypatch):
    (tmp_path / "params.yaml").write_text("datasets: [flowers, animals]")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"^bottletop: --dataset must name one of flowers, animals$"):
        main(["predict", "a.png"])
    with pytest.raises(SystemExit, match="--dataset must name one of flowers, animals, got 'food'"):
        main(["predict", "a.png", "--dataset", "food"])
    with pytest.raises(SystemExit, match="animals has no trained model"):
        main(["predict", "a.png", "--dataset", "animals"])


def test_a_model_of_other_settings_than_params_yaml_is_not_passed_off_as_current(tmp_path, monkeypatch, capsys):
    write_workspace(tmp_path)
    lock = {"stages": {"split@flowers": {"params": {"params.yaml": {"split": {"seed": 3}}}}}}
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump(lock))
    (tmp_path / "a.png").write_bytes(png(1))
    monkeypatch.chdir(tmp_path)
    main(["predict", "a.png"])
    assert capsys.readouterr().err.splitlines() == [
        "flowers: split changed since this model was trained: dvc repro trains anew",
        "model: flowers, trained here",
    ]


NAMES = ["e\x1b[31m\nb.png", os.fsdecode(b"caf\xe9.png"), "x\u202egnp.jpg"]


@pytest.mark.parametrize("name", NAMES, ids=["control characters", "not UTF-8", "right to left"])
def test_a_name_cannot_change_the_terminal_and_json_has_it_as_it_is(here, monkeypatch, name):
    (here / name).write_bytes(png(1))
    for form in ([], ["--csv"], ["--json"]):
        with io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="\n") as out:  # which refuses what is not UTF-8
            monkeypatch.setattr("sys.stdout", out)
            main(["predict", name, *form])
            out.flush()
            printed = out.buffer.getvalue().decode()
        assert not set("\x1b\u202e") & set(printed)
        assert visible(name) in printed or json.loads(printed)[0]["image"] == name


def test_the_reason_of_a_failure_and_files_left_out_are_shown_without_control_characters(here, capsys):
    write_folder(here / "bad", {"a\x1b\n.png": b"junk", "b\x1b\n.txt": b"junk"})
    with pytest.raises(SystemExit):
        main(["predict", "bad"])
    _, left_out, failure = capsys.readouterr().err.splitlines()
    assert left_out.endswith(r"1 with .txt (b\x1b\x0a.txt)")
    assert failure == r"bottletop: bad/a\x1b\x0a.png: not an image"


def test_csv_has_no_formulas(here, capsys):
    (here / "=1+1.png").write_bytes(png(1))
    main(["predict", "=1+1.png", "--csv"])
    assert capsys.readouterr().out.splitlines()[1].startswith("'=1+1.png,")


# Explanations


def test_explain_writes_a_picture_of_each_image_that_could_be_read(here, capsys):
    write_folder(here / "some", {"a.png": png(1), "b.jpg": b"junk", "more/a.png": png(2)})
    with pytest.raises(SystemExit):
        main(["predict", "some", "--explain", "--output", "heat"])
    assert sorted(path.name for path in (here / "heat").iterdir()) == ["a-2.png", "a.png"]
    assert "some/a.png" in capsys.readouterr().out
    with Image.open(here / "heat/a.png") as picture:
        assert picture.width > 500
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 1000
