import re
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import pytest
from msgspec import Meta

from bottletop.core.catalogue import Source
from bottletop.core.errors import ParamsError
from bottletop.core.mistakes import allowed
from bottletop.core.settings import Params, load, parse, read_yaml, unedited
from bottletop.download.params import DownloadParams
from bottletop.split import SplitParams


class Cup(Params, frozen=True, kw_only=True):
    volume_ml: Annotated[int, Meta(ge=1, le=1000)]
    handles: tuple[int, ...] = ()
    colours: dict[str, str] | None = None
    weight_g: float = 0.0
    glaze: Literal["glossy", "matt"] = "glossy"


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
        ({"leaf": 3}, "tea.leaf must be text; got 3"),
        ({"cup": {"volume_ml": "much"}}, "tea.cup.volume_ml must be a whole number from 1 to 1000; got much"),
        ({"cup": {"volume_ml": 0}}, "tea.cup.volume_ml must be a whole number from 1 to 1000; got 0"),
        ({"cup": {"volume_ml": 1001}}, "tea.cup.volume_ml must be a whole number from 1 to 1000; got 1001"),
        ({"cup": {"volume_ml": 2.5}}, "tea.cup.volume_ml must be a whole number from 1 to 1000; got 2.5"),
        ({"cup": {"volume_ml": "200"}}, "tea.cup.volume_ml must be a whole number from 1 to 1000; got '200'"),
        ({"cup": {"volume_ml": None}}, "tea.cup.volume_ml must be a whole number from 1 to 1000; got null"),
        ({"cup": {}}, "tea.cup.volume_ml is missing"),
        (
            {"cup": None},
            "tea.cup must have settings indented below it, volume_ml, handles, colours, weight_g, glaze; got null",
        ),
        (
            {"cup": {"volume_ml": 1, "lid": 1}},
            "tea.cup.lid is unknown: known are volume_ml, handles, colours, weight_g, glaze",
        ),
        ({"cup": {"volume_ml": 1, "handle": []}}, "tea.cup.handle is unknown: did you mean handles?"),
        ({"cup": {"volume_ml": 1, "handles": [7, "x"]}}, "tea.cup.handles[1] must be a whole number; got x"),
        (
            {"cup": {"volume_ml": 1, "handles": "x, y"}},
            "list, each item a whole number; got x, y: write [x, y]",
        ),
        ({"cup": {"volume_ml": 1, "colours": {"rim": 3}}}, "tea.cup.colours.rim must be text; got 3"),
        ({"cup": {"volume_ml": 1, "handles": 7}}, "must be a list, each item a whole number; got 7: write [7]"),
        ({"cup": {"volume_ml": 1, "weight_g": "0,5"}}, "must be a number; got 0,5: write 0.5"),
        ({"cup": {"volume_ml": 1, "glaze": "Matt"}}, "must be one of glossy, matt; got Matt: did you mean matt?"),
        ({"cup": {"Volume_ml": 1, "volume_ml": 1}}, "tea.cup.Volume_ml is unknown: did you mean volume_ml?"),
        ({"sugar": 1}, "tea.sugar is unknown: known are leaf, cup"),
        ({"volume_ml": 200}, "tea.volume_ml is unknown: did you mean cup.volume_ml?"),
        ({"leaf": ["https://me:secret@shop"]}, "got ['https://***@shop']"),
    ],
)
def test_the_message_names_the_key_what_it_expects_the_value_it_got_and_the_file(values, message):
    with pytest.raises(ParamsError, match=re.escape(message) + ".*: edit params.yaml$"):
        parse(Tea, GOOD | values, "tea", Path("params.yaml"))


def test_all_mistakes_of_a_file_are_named_at_once_each_with_its_line(write):
    path = write("tea:\n  leaf: 3\n  cup:\n    volume_ml: 200\n    handles:\n    - 1\n    - x\n    lid: 1\n")
    with pytest.raises(ParamsError) as caught:
        load(Tea, "tea", path)
    assert caught.value.problem.splitlines() == [
        "3 mistakes:",
        f"  {path}, line 2: tea.leaf must be text; got 3",
        f"  {path}, line 8: tea.cup.lid is unknown: known are volume_ml, handles, colours, weight_g, glaze",
        f"  {path}, line 7: tea.cup.handles[1] must be a whole number; got x",
    ]


def test_a_single_mistake_is_named_in_one_line(write):
    path = write("tea:\n  cup: {volume_ml: 200}\n  leaf: 3\n")
    with pytest.raises(ParamsError) as caught:
        load(Tea, "tea", path)
    assert caught.value.problem == f"{path}, line 3: tea.leaf must be text; got 3"


def test_a_long_wrong_value_is_cut_off():
    with pytest.raises(ParamsError) as caught:
        parse(Cup, {"volume_ml": "x" * 10_000}, "cup", Path("params.yaml"))
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"splits": {"tset": "late"}}, r"source.splits.tset is a wrong name: must be one of .*: did you mean test\?"),
        ({"names": {3: "three"}}, "source.names.3 is a wrong name: must be text; got 3"),
    ],
)
def test_the_names_in_a_table_are_checked_too(values, message):
    with pytest.raises(ParamsError, match=message):
        parse(Source, {"folder": "a", **values}, "source", Path("datasets.yaml"))


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Annotated[int, Meta(ge=0, lt=2**32)], "a whole number from 0 to 4294967295"),
        (Annotated[int, Meta(ge=1)] | None, "a whole number from 1 on, or null"),
        (Annotated[float, Meta(ge=0, lt=1)], "a number from 0 to below 1"),
        (Annotated[float, Meta(gt=0, le=1000)], "a number, above 0, at most 1000"),
        (Annotated[float, Meta(gt=0, lt=1)], "a number, above 0, below 1"),
        (Literal["a", "b"] | bool, "one of a, b, or true or false"),
        (Annotated[tuple[str, ...], Meta(min_length=1)], "a list that is not empty, each item text"),
        (Annotated[str, Meta(pattern="^[0-9a-f]{4}$")], "text that matches ^[0-9a-f]{4}$"),
        (dict[str, int], "names, each with a value"),
    ],
)
def test_what_is_allowed_is_said_in_words(kind, text):
    assert allowed(msgspec.json.schema(kind)) == text


def test_the_cause_is_kept():
    with pytest.raises(ParamsError) as caught:
        parse(Cup, {}, "cup", Path("params.yaml"))
    assert "volume_ml" in str(caught.value.__cause__)


@pytest.mark.parametrize("fraction", [-0.01, 1.01, float("nan")])
def test_max_rejected_is_a_fraction(fraction):
    with pytest.raises(ParamsError, match=r"download\.max_rejected must be a number from 0 to 1"):
        parse(DownloadParams, {"max_rejected": fraction}, "download", Path("params.yaml"))


def test_rules_between_values_are_checked_too():
    values = {"validation": 0.5, "test": 0.5, "official_test": True, "seed": 0}
    with pytest.raises(ParamsError, match=r"split is wrong: validation \+ test must be below 1: edit params.yaml"):
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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "tea:\n  leaf: green\n    cup: 1\n",
            "mapping values .* in line 3; what belongs together must begin in the same c",
        ),
        (
            "tea:\n  leaf: green\n cup: 1\n",
            "in line 3, while parsing a block mapping from line 1; what belongs together",
        ),
        ("tea:\n  leaf:green\n  cup: 1\n", "in line 3; .*, and a space must follow each colon$"),
        ("tea:\n  leaf: green\n  cup:1\n", "in line 4, .* from line 3; .*, and a space must follow each colon$"),
        ("tea:\n\tleaf: green\n", "in line 2, .*; indent with spaces, not with tabs"),
        ("tea:\n  leaf: green\n  leaf: black\n", "found leaf a second time in line 3$"),
        ("tea:\n  from: [https://tea]\n", "found https://tea in brackets in line 2; put quotes around it$"),
        ("tea:\n  cup: {from: [1, a:b]}\n", "found a:b in brackets in line 2; put"),
    ],
)
def test_the_line_of_a_slip_in_the_yaml_is_named(write, text, message):
    path = write(text)
    with pytest.raises(ParamsError) as caught:
        read_yaml(path)
    assert re.search(message, caught.value.problem)
    assert "\n" not in caught.value.problem


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
