import re
from pathlib import Path
from typing import Annotated

import pytest
from msgspec import Meta

from bottletop.core.errors import ParamsError
from bottletop.core.settings import Params, load, parse, read_yaml, unedited
from bottletop.download.unpacking import DownloadParams
from bottletop.split import SplitParams


class Cup(Params, frozen=True, kw_only=True):
    volume_ml: Annotated[int, Meta(ge=1, le=1000)]
    handles: tuple[int, ...] = ()
    colours: dict[str, str] | None = None


class Tea(Params, frozen=True, kw_only=True):
    leaf: str
    cup: Cup


GOOD = {"leaf": "green", "cup": {"volume_ml": 200}}


@pytest.fixture
def write(tmp_path):
    """Writes a params file."""

    def write(text: str) -> Path:
        path = tmp_path / "params.yaml"
        path.write_text(text)
        return path

    return write


def test_a_section_becomes_its_struct(write):
    path = write("tea: {leaf: green, cup: {volume_ml: 200, handles: [1, 2]}}")
    assert load(Tea, "tea", path) == Tea(leaf="green", cup=Cup(volume_ml=200, handles=(1, 2)))


def test_a_dotted_section_is_a_section_within_a_section(write):
    path = write("tea: {leaf: green, cup: {volume_ml: 200}}")
    assert load(Cup, "tea.cup", path) == Cup(volume_ml=200)


def test_params_cannot_be_changed():
    cup = Cup(volume_ml=200)
    with pytest.raises(AttributeError):
        cup.volume_ml = 300


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"leaf": 3}, "tea.leaf: expected `str`, got `int` 3"),
        ({"cup": {"volume_ml": "much"}}, "tea.cup.volume_ml: expected `int`, got `str` 'much'"),
        ({"cup": {"volume_ml": 0}}, "tea.cup.volume_ml: expected `int` >= 1, got 0"),
        ({"cup": {"volume_ml": 1001}}, "tea.cup.volume_ml: expected `int` <= 1000, got 1001"),
        ({"cup": {"volume_ml": 2.5}}, "tea.cup.volume_ml: expected `int`, got `float` 2.5"),
        ({"cup": {"volume_ml": None}}, "tea.cup.volume_ml: expected `int`, got `null` None"),
        ({"cup": {}}, "tea.cup: object missing required field `volume_ml`, got {}"),
        ({"cup": {"volume_ml": 1, "lid": 1}}, "tea.cup: object contains unknown field `lid`, got {'volume_ml': 1, 'l"),
        ({"cup": {"volume_ml": 1, "handles": [7, "x"]}}, "tea.cup.handles[1]: expected `int`, got `str` 'x'"),
        ({"sugar": 1}, "tea: object contains unknown field `sugar`"),
    ],
)
def test_the_message_names_the_key_what_it_expects_the_value_it_got_and_the_file(values, message):
    with pytest.raises(ParamsError, match=re.escape(message) + ".*: edit params.yaml$"):
        parse(Tea, GOOD | values, "tea", Path("params.yaml"))


def test_a_wrong_value_in_a_table_of_names_shows_the_table():
    with pytest.raises(ParamsError, match=r"\{'rim': 3\}"):
        parse(Cup, {"volume_ml": 1, "colours": {"rim": 3}}, "cup", Path("params.yaml"))


def test_the_cause_is_kept():
    with pytest.raises(ParamsError) as caught:
        parse(Cup, {}, "cup", Path("params.yaml"))
    assert "volume_ml" in str(caught.value.__cause__)


@pytest.mark.parametrize("fraction", [-0.01, 1.01, float("nan")])
def test_max_rejected_is_a_fraction(fraction):
    with pytest.raises(ParamsError, match=r"download\.max_rejected: expected `float`"):
        parse(DownloadParams, {"max_rejected": fraction}, "download", Path("params.yaml"))


def test_rules_between_values_are_checked_too():
    values = {"validation": 0.5, "test": 0.5, "official_test": True, "seed": 0}
    with pytest.raises(ParamsError, match=r"split: validation \+ test must be below 1: edit params.yaml"):
        parse(SplitParams, values, "split", Path("params.yaml"))


def test_a_missing_section_shows_those_there_are(write):
    path = write("tea: {}\ncoffee: {}")
    with pytest.raises(ParamsError, match=r"params.yaml has no 'milk', only: tea, coffee"):
        load(Cup, "milk", path)


def test_a_section_of_something_that_has_none_shows_it(write):
    path = write("tea: green")
    with pytest.raises(ParamsError, match=r"has no 'tea.cup', only: 'green'"):
        load(Cup, "tea.cup", path)


def test_an_empty_file_has_no_section(write):
    path = write("")
    with pytest.raises(ParamsError, match="has no 'tea', only: None"):
        load(Cup, "tea", path)


def test_a_missing_file_tells_where_to_run(tmp_path):
    with pytest.raises(ParamsError, match=r"nowhere.yaml is missing: run this from the repository's root"):
        read_yaml(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize("text", ["tea: [", "tea: {\n", "a: b: c", "\ttea: 1", "tea: '", "tea: \x00"])
def test_a_file_that_is_not_yaml_is_named(write, text):
    path = write(text)
    with pytest.raises(ParamsError, match=f"^{path} is not valid YAML: "):
        read_yaml(path)


@pytest.mark.parametrize("tag", ["object/apply:os.mkdir", "object/new:os.mkdir"])
def test_python_tags_are_refused_and_not_run(write, tmp_path, tag):
    path = write(f"tea: !!python/{tag} ['{tmp_path}/made']")
    with pytest.raises(ParamsError, match="not valid YAML"):
        read_yaml(path)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("text", ["1e-4", "1E-4", "1.e-4", "1.0e-4", "+1e-04"])
def test_numbers_may_be_written_with_an_exponent_and_no_point(tmp_path, text):
    (tmp_path / "params.yaml").write_text(f"rate: {text}\n")
    assert read_yaml(tmp_path / "params.yaml") == {"rate": 0.0001}


def test_a_section_that_is_edited_while_a_result_is_made_is_noticed(write):
    path = write("tea: {leaf: green}\nmilk: 1\n")
    with (
        pytest.raises(ParamsError, match=r"^tea in .*params.yaml was edited while this ran"),
        unedited("tea", path=path),
    ):
        write("tea: {leaf: black}\nmilk: 1\n")


def test_other_sections_may_be_edited_meanwhile(write):
    path = write("tea: {leaf: green}\nmilk: 1\n")
    with unedited("tea", path=path):
        write("tea: {leaf: green}\nmilk: 2\n")


def test_what_a_caller_changes_is_its_own(write):
    path = write("tea: {leaf: green}")
    read_yaml(path)["tea"]["leaf"] = "black"
    assert read_yaml(path) == {"tea": {"leaf": "green"}}
