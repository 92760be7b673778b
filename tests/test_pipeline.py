"""The pipeline as DVC runs it, on a copy of the project with a small dataset of its own."""

import ast
import json
import os
import re
import shutil
import sqlite3
from contextlib import suppress
from pathlib import Path

import grimp
import psutil
import pytest
import yaml

from benchmarks import samples
from bottletop.backbones import tensorflow_engine
from bottletop.features.manifest import read_manifest
from stages.evaluate import IN_GIT
from tests import project as small
from tests.pictures import jpeg
from tests.project import DATASET, run, set_param, stages_run

ALL = ["download", "weights", "split", "extract", "train", "evaluate", "track"]
AFTER_SPLIT = ["split", "train", "evaluate", "track"]
AFTER_TRAIN = ["train", "evaluate", "track"]
EXTRACT = f"extract@{DATASET}"
UNFINISHED = ".dvc/tmp/bottletop/features/*/features"


def definition() -> dict[str, dict[str, object]]:
    return yaml.safe_load((samples.ROOT / "dvc.yaml").read_text())["stages"]


def code(stage: str) -> list[str]:
    """The folders and files of the library that a stage depends on, as names of packages and modules."""
    listed = [str(dep) for dep in definition()[stage]["deps"]]
    return [dep.removesuffix(".py").replace("/", ".") for dep in listed if dep.startswith("bottletop/")]


def imported(stage: str) -> set[str]:
    graph = grimp.build_graph("bottletop", "stages", cache_dir=None)
    packages = {name for name in graph.modules if graph.find_children(name)}  # hold a docstring alone
    return graph.find_upstream_modules(f"stages.{stage}") - packages


@pytest.mark.parametrize("stage", sorted(definition()))
def test_a_stage_depends_on_its_own_file_and_on_all_that_it_imports(stage: str) -> None:
    assert f"stages/{stage}.py" in definition()[stage]["deps"]
    assert {
        name for name in imported(stage) if not f"{name}.".startswith(tuple(f"{each}." for each in code(stage)))
    } == set()


@pytest.mark.parametrize("stage", sorted(definition()))
def test_a_stage_depends_on_nothing_that_it_does_not_import(stage: str) -> None:
    assert [
        each for each in code(stage) if not any(f"{name}.".startswith(f"{each}.") for name in imported(stage))
    ] == []


@pytest.mark.parametrize("stage", sorted(definition()))
def test_a_stage_reaches_nothing_that_users_call(stage: str) -> None:
    above = ("bottletop.cli", "bottletop.doctor", "bottletop.experiments", "bottletop.inference")
    assert [name for name in imported(stage) if name.startswith(above)] == []


@pytest.mark.parametrize("stage", sorted(definition()))
def test_a_stage_refuses_edits_of_the_params_that_dvc_records_it_with(stage: str) -> None:
    """DVC reads them anew when the stage has ended."""
    calls = ast.walk(ast.parse((samples.ROOT / f"stages/{stage}.py").read_text()))
    guards = [call for call in calls if isinstance(call, ast.Call) and ast.unparse(call.func) == "unedited"]
    names = [ast.unparse(name).removeprefix("f").strip("'") for guard in guards for name in guard.args]
    listed = definition()[stage].get("params", [])
    recorded = {name for one in listed for name in ([one] if isinstance(one, str) else next(iter(one.values())))}
    guarded = {re.sub(r"{.*?}|sys.argv\[1\]", "*", name) for name in names}
    assert guarded == {re.sub(r"\${.*?}", "*", name) for name in recorded}


def test_extraction_never_reads_the_split() -> None:
    assert not [dep for dep in definition()["extract"]["deps"] if "split" in dep]


def test_tracking_has_no_outputs_so_it_is_never_restored() -> None:
    assert not {"outs", "metrics", "plots"} & definition()["track"].keys()


def test_outputs_in_git_do_not_switch_the_run_cache_off() -> None:
    """DVC caches no run of a stage with an uncached output, unless it is a metric or plot."""
    for name, stage in definition().items():
        assert all(isinstance(out, str) for out in stage.get("outs", [])), name


def test_evaluation_keeps_copies_of_all_its_files_in_git_for_the_remote() -> None:
    declared = [*definition()["evaluate"]["metrics"], *definition()["evaluate"]["plots"]]
    in_git = {Path(path).name for out in declared if isinstance(out, dict) for path, of in out.items() if "cache" in of}
    assert in_git == set(IN_GIT)


def test_stages_are_thin() -> None:
    for path in (samples.ROOT / "stages").glob("*.py"):
        assert len(path.read_text().splitlines()) <= 40, path


def edit_extraction(project: Path) -> None:
    with (project / "bottletop/features/extraction.py").open("a") as file:
        file.write("# a remark\n")


@pytest.mark.slow
class TestRepro:
    def test_first_run_runs_every_stage_and_tracks_one_finished_run(self, finished: small.Finished) -> None:
        project, output = finished
        assert sorted(stages_run(output)) == sorted(ALL)
        metrics = json.loads((project / "metrics" / DATASET / "metrics.json").read_text())
        [tracked] = small.tracked_runs(project)
        assert tracked["status"] == "FINISHED"
        assert tracked["accuracy"] == metrics["accuracy"]

    def test_second_run_does_nothing(self, project: Path) -> None:
        written = (project / "dvc.lock").stat().st_mtime_ns
        assert stages_run(run(project, "dvc", "repro")) == []
        assert (project / "dvc.lock").stat().st_mtime_ns == written  # writing it takes long

    def test_what_a_killed_dvc_left_of_a_file_changes_nothing(self, project: Path) -> None:
        left = project / "metrics" / DATASET / ".Oe4JQ4xM71eDNPyHQsb1iw.tmp"  # so DVC calls what it links
        left.write_text("half")
        assert stages_run(run(project, "dvc", "repro")) == []
        assert left.name not in run(project, "git", "status", "--short", "--untracked-files=all")

    def test_a_new_split_seed_extracts_nothing(self, project: Path) -> None:
        set_param(project, "split.seed", 1)
        assert stages_run(run(project, "dvc", "repro")) == AFTER_SPLIT

    def test_a_changed_title_only_changes_the_report(self, project: Path) -> None:
        catalogue = yaml.safe_load((project / "datasets.yaml").read_text())
        catalogue["datasets"][DATASET]["title"] = "Other patterns"
        (project / "datasets.yaml").write_text(yaml.safe_dump(catalogue))
        assert stages_run(run(project, "dvc", "repro")) == ["evaluate", "track"]

    def test_another_backbone_is_fetched_and_used_and_the_first_is_restored(
        self, project: Path, tmp_path: Path
    ) -> None:
        tensorflow_engine._network("efficientnet_v2_b0", 32, "float32").save_weights(tmp_path / "own.weights.h5")
        entries = yaml.safe_load((project / "weights.yaml").read_text())
        own = {"digest": None, "sources": [{"url": f"file:{tmp_path / 'own.weights.h5'}"}]}
        entries["efficientnet_v2_b0"] = own
        (project / "weights.yaml").write_text(yaml.safe_dump(entries))
        assert stages_run(run(project, "dvc", "repro")) == []
        set_param(project, "extract.backbone", "efficientnet_v2_b0")
        output = run(project, "dvc", "repro")
        assert stages_run(output) == ["weights", "extract", "train", "evaluate", "track"]
        manifest = read_manifest(project / "data/features" / DATASET)
        assert (manifest.backbone, manifest.pooled_shape) == ("efficientnet_v2_b0", (2880,))
        assert manifest.preprocessing.startswith("rgb-exif-bilinear-inside-")
        set_param(project, "extract.backbone", "vgg16")
        assert stages_run(run(project, "dvc", "repro")) == ["track"]

    def test_a_dataset_taken_off_the_list_is_restored_when_put_back(self, project: Path) -> None:
        catalogue = yaml.safe_load((project / "datasets.yaml").read_text())
        catalogue["datasets"]["others"] = catalogue["datasets"][DATASET]
        (project / "datasets.yaml").write_text(yaml.safe_dump(catalogue))
        samples.activate(project, [DATASET, "others"])
        run(project, "dvc", "repro")
        samples.commit(project, "two datasets")
        samples.activate(project, [DATASET])
        run(project, "dvc", "exp", "run", "-S", "train.seed=1")
        samples.activate(project, [DATASET, "others"])
        set_param(project, "train.seed", 0)
        assert set(stages_run(run(project, "dvc", "repro"))) <= {"track"}
        assert (project / "metrics" / "others" / "metrics.json").exists()

    def test_a_new_picture_in_ones_own_folder_is_noticed(self, project: Path) -> None:
        (project / "pictures" / "noise" / "new.jpg").write_bytes(jpeg(99_999, (48, 48)))
        output = run(project, "dvc", "repro")
        assert stages_run(output) == ["download", "split", "extract", "train", "evaluate", "track"]
        assert "36 of 37 images were computed before" in output
        report = json.loads((project / "metrics" / DATASET / "data.json").read_text())
        assert report["images_per_class"]["noise"] == 13

    def test_the_same_inputs_give_the_same_bytes(self, project: Path) -> None:
        outputs = [
            f"metrics/{DATASET}/metrics.json",
            f"metrics/{DATASET}/history.csv",
            f"data/models/{DATASET}/top.keras",
        ]
        before = [(project / name).read_bytes() for name in outputs]
        run(project, "dvc", "repro", "--force", "--single-item", f"train@{DATASET}", f"evaluate@{DATASET}")
        assert [(project / name).read_bytes() for name in outputs] == before

    def test_experiments_change_params_and_leave_features_alone(self, project: Path) -> None:
        output = run(project, "dvc", "exp", "run", "--name", "longer", "-S", "train.epochs=7")
        assert stages_run(output) == AFTER_TRAIN
        assert "longer" in [tracked["name"] for tracked in small.tracked_runs(project)]
        assert "train.epochs" in run(project, "dvc", "exp", "diff", "HEAD", "longer")

    def test_metrics_and_plots_are_known_to_dvc(self, project: Path) -> None:
        assert "accuracy" in run(project, "dvc", "metrics", "show")
        run(project, "dvc", "plots", "show")
        page = (project / "dvc_plots" / "index.html").read_text()
        for shown in ("history.csv", "confusion.png", "val_accuracy", "mistakes.png"):
            assert shown in page

    def test_results_are_printed_with_their_interval(self, project: Path) -> None:
        printed = run(project, "bottletop", "results")
        assert f"{DATASET}: " in printed
        assert "95 % interval" in printed


@pytest.mark.slow
class TestModels:
    """`train.model` says what is trained; each kind of model runs what it needs."""

    def test_a_network_from_scratch_needs_no_features_and_no_weights_and_the_top_is_restored_when_chosen_again(
        self, project: Path
    ) -> None:
        set_param(project, "train.model", "cnn")
        output = run(project, "dvc", "repro")
        assert stages_run(output) == ["weights", "extract", "train", "evaluate", "track"]
        assert "extract (" not in output
        assert [path.name for path in (project / "data/features" / DATASET).iterdir()] == ["left-out.txt"]
        assert len(small.tracked_runs(project)) == 2
        set_param(project, "train.model", "top")
        assert stages_run(run(project, "dvc", "repro")) == ["track"]

    def test_a_killed_training_goes_on_from_its_last_epochs_and_the_next_closes_its_run(self, project: Path) -> None:
        small.train_long(project)
        started = small.start(project, "dvc", "repro")
        small.wait_for(lambda: bool(list(project.glob(".dvc/tmp/bottletop/training/*/state/history.json"))))
        small.kill_stage(started)
        assert started.wait() != 0
        assert [tracked["status"] for tracked in small.tracked_runs(project)] == ["FINISHED", "RUNNING"]
        [state] = project.glob(".dvc/tmp/bottletop/training/*/state/history.json")
        done = len(json.loads(state.read_text()))
        again = small.start(project, "dvc", "repro")
        small.wait_for(
            lambda: len(small.tracked_runs(project)) == 3 and small.tracked_runs(project)[2]["epochs"] > done
        )
        small.kill_stage(again)
        again.wait()
        assert [tracked["status"] for tracked in small.tracked_runs(project)] == ["FINISHED", "KILLED", "RUNNING"]
        set_param(project, "train.epochs", 4)
        run(project, "dvc", "repro")
        assert [tracked["status"] for tracked in small.tracked_runs(project)] == [
            "FINISHED", "KILLED", "KILLED", "FINISHED",
        ]  # fmt: skip


@pytest.mark.slow
class TestFeatures:
    """Whatever was computed once is found again."""

    def test_changed_code_computes_no_features_again(self, project: Path) -> None:
        edit_extraction(project)
        assert "36 of 36 images were computed before" in run(project, "dvc", "repro", EXTRACT)

    @pytest.mark.parametrize("place", [(), ("--temp",)])
    def test_nor_does_an_experiment(self, project: Path, place: tuple[str, ...]) -> None:
        edit_extraction(project)
        assert "36 of 36 images were computed before" in run(project, "dvc", "exp", "run", *place, EXTRACT)

    def test_features_of_the_commit_are_found_when_dvc_lock_names_others(self, project: Path) -> None:
        set_param(project, "extract.image_side_px", 64)
        assert "computed before" not in run(project, "dvc", "repro", EXTRACT)
        set_param(project, "extract.image_side_px", 32)
        edit_extraction(project)
        assert "36 of 36 images were computed before" in run(project, "dvc", "repro", EXTRACT)

    def test_a_colleagues_features_are_found_on_the_remote(self, project: Path, tmp_path: Path) -> None:
        run(project, "dvc", "remote", "add", "--default", "store", str(tmp_path / "store"))
        samples.commit(project, "remote")
        run(project, "dvc", "push")
        clone = tmp_path / "clone"
        run(project, "git", "clone", "--quiet", str(project), str(clone))
        edit_extraction(clone)
        output = run(clone, "dvc", "repro", "--pull", EXTRACT)
        assert "36 of 36 images were computed before" in output
        assert "extract" in stages_run(output)

    @pytest.mark.parametrize("place", [(), ("--temp",)])
    def test_a_killed_extraction_goes_on_in_the_next_command(self, project: Path, place: tuple[str, ...]) -> None:
        set_param(project, "extract.image_side_px", 256)
        kept = set(project.glob(f"{UNFINISHED}/rows.csv"))  # of the first run
        started = small.start(project, "dvc", *(("exp", "run", *place) if place else ("repro",)))
        small.wait_for(
            lambda: any(path.stat().st_size > 600 for path in {*project.glob(f"{UNFINISHED}/rows.csv")} - kept)
        )
        small.kill_stage(started)
        started.wait()
        output = run(project, "dvc", "repro", EXTRACT)
        [known] = re.findall(r"(\d+) of 36 images were computed before", output)
        assert int(known) >= 5

    def test_one_that_dvc_has_not_recorded_computes_nothing_twice(self, project: Path) -> None:
        """DVC copies the features to its cache before it records the stage, which takes as long as there are many."""
        set_param(project, "extract.image_side_px", 64)
        lock = (project / "dvc.lock").read_bytes()
        run(project, "dvc", "repro", EXTRACT)
        (project / "dvc.lock").write_bytes(lock)
        os.utime(project / "dvc.lock", (0, 0))
        shutil.rmtree(project / ".dvc/cache/runs")
        output = run(project, "dvc", "repro", EXTRACT)
        assert "36 of 36 images were computed before" in output
        run(project, "dvc", "repro")
        assert not list((project / ".dvc/tmp/bottletop/features").iterdir())


@pytest.mark.slow
class TestRuns:
    """Every experiment is exactly one MLflow run, whichever way it is run."""

    def test_one_restored_from_the_run_cache_has_its_own_with_the_same_fingerprint(self, project: Path) -> None:
        set_param(project, "train.seed", 1)
        assert stages_run(run(project, "dvc", "repro")) == AFTER_TRAIN
        set_param(project, "train.seed", 0)
        assert stages_run(run(project, "dvc", "repro")) == ["track"]
        first, other, again = small.tracked_runs(project)
        assert [tracked["restored"] for tracked in (first, other, again)] == ["false", "false", "true"]
        assert again["fingerprint"] == first["fingerprint"] != other["fingerprint"]
        assert again["epochs"] == first["epochs"] == 5

    def test_queued_ones_share_the_main_repositorys_store(self, project: Path) -> None:
        for seed in (3, 4):
            run(project, "dvc", "exp", "run", "--queue", "--name", f"queued-{seed}", "-S", f"evaluate.seed={seed}")
        run(project, "dvc", "queue", "start", "--jobs", "2")
        small.wait_for(lambda: run(project, "dvc", "queue", "status").count("Success") == 2)
        found = {tracked["name"]: tracked["status"] for tracked in small.tracked_runs(project)[1:]}
        assert found == {"queued-3": "FINISHED", "queued-4": "FINISHED"}

    def test_one_in_a_moved_clone_does_not_make_the_old_folder_again_and_finds_earlier_artefacts(
        self, project: Path
    ) -> None:
        run(project, "bottletop", "runs")  # the fixture is a copy: its store follows it
        moved = project.rename(project.with_name("moved"))
        output = run(moved, "dvc", "exp", "run", "--temp", "--name", "aside", "-S", "evaluate.seed=1")
        assert f"MLflow's artefacts are in {moved}/mlartifacts now" in output
        assert not project.exists()
        assert len(list(moved.glob("mlartifacts/*/artifacts/report/metrics.json"))) == 2
        with sqlite3.connect(moved / "mlflow.db") as database:
            places = {uri for (uri,) in database.execute("select artifact_uri from runs")}
        assert {place.startswith(f"file://{moved}/mlartifacts/") for place in places} == {True}

    @pytest.mark.parametrize("place", [(), ("--temp",)], ids=["in the workspace", "temporary"])
    def test_one_that_is_killed_when_its_run_has_just_finished_does_not_get_a_second_run(
        self, project: Path, place: tuple[str, ...]
    ) -> None:
        command = ("dvc", "exp", "run", *place, "--name", "once", "-S", "evaluate.seed=1")
        started = small.start(project, *command)
        small.wait_for(lambda: [tracked["status"] for tracked in small.tracked_runs(project)] == ["FINISHED"] * 2)
        stages = psutil.Process(started.pid).children(recursive=True)
        started.kill()
        started.wait()
        for stage in stages:
            with suppress(psutil.NoSuchProcess):
                stage.kill()
        assert run(project, "dvc", "exp", "list", "--name-only").split() == []
        run(project, *command)
        assert run(project, "dvc", "exp", "list", "--name-only").split() == ["once"]
        assert [tracked["status"] for tracked in small.tracked_runs(project)] == ["FINISHED"] * 2

    def test_a_server_that_is_down_stops_it_before_training_and_track_alone_is_missing_when_it_went_down_later(
        self, project: Path
    ) -> None:
        set_param(project, "train.seed", 1)
        output = run(project, "env", "MLFLOW_TRACKING_URI=http://127.0.0.1:9", "dvc", "repro", check=False)
        assert "train@patterns: no MLflow server answers at http://127.0.0.1:9: check MLFLOW_TRACKING_URI" in output
        assert "train: " not in output
        run(project, "dvc", "repro", f"evaluate@{DATASET}")
        output = run(project, "env", "MLFLOW_TRACKING_URI=http://127.0.0.1:9", "dvc", "repro", check=False)
        assert "track@patterns: the MLflow store" in output
        assert stages_run(run(project, "dvc", "repro")) == ["track"]
        assert [tracked["status"] for tracked in small.tracked_runs(project)] == ["FINISHED", "FINISHED"]

    def test_a_second_repro_in_the_same_workspace_is_refused_and_the_first_completes(self, project: Path) -> None:
        small.train_long(project, epochs=100)
        first = small.start(project, "dvc", "repro")
        small.wait_for(lambda: len(small.tracked_runs(project)) == 2)  # training has begun
        output = run(project, "dvc", "repro", check=False)
        assert "busy" in output or "is being used" in output or "Unable to acquire lock" in output
        assert first.wait() == 0
        assert [tracked["status"] for tracked in small.tracked_runs(project)] == ["FINISHED", "FINISHED"]

    def test_a_second_experiment_in_the_workspace_is_refused_and_the_stages_of_the_first_complete(
        self, project: Path
    ) -> None:
        """As the second ends, DVC removes refs that the first needs to name its commit: `dvc exp save` does it."""
        small.train_long(project, epochs=100)
        first = small.start(project, "dvc", "exp", "run", "--name", "first", "-S", "train.seed=1")
        small.wait_for(lambda: [tracked["epochs"] > 3 for tracked in small.tracked_runs(project)] == [True, True])
        output = run(project, "dvc", "exp", "run", "--name", "second", "-S", "train.seed=2", check=False)
        assert "sources: another DVC command works in this folder (PID " in output
        first.wait()
        assert [tracked["status"] for tracked in small.tracked_runs(project)] == ["FINISHED", "FINISHED"]
        assert yaml.safe_load((project / "params.yaml").read_text())["train"]["seed"] == 1
        run(project, "dvc", "exp", "save", "--name", "first")
        assert run(project, "dvc", "exp", "list", "--name-only").split() == ["first"]
        assert stages_run(run(project, "dvc", "repro")) == []

    def test_one_beside_another_in_the_workspace_completes_with_temp(self, project: Path) -> None:
        small.train_long(project, epochs=120)
        first = small.start(project, "dvc", "exp", "run", "--name", "first", "-S", "train.seed=1")
        small.wait_for(lambda: len(small.tracked_runs(project)) == 2)
        run(project, "dvc", "exp", "run", "--temp", "--name", "second", "-S", "train.epochs=5")
        assert first.wait() == 0
        assert {tracked["name"]: tracked["status"] for tracked in small.tracked_runs(project)[1:]} == {
            "first": "FINISHED",
            "second": "FINISHED",
        }
        assert sorted(run(project, "dvc", "exp", "list", "--name-only").split()) == ["first", "second"]

    def test_one_with_temp_is_refused_in_a_shallow_clone_before_any_work_and_kept_in_a_whole_one(
        self, project: Path, tmp_path: Path
    ) -> None:
        small.make_shallow(project, tmp_path / "origin")
        command = ("dvc", "exp", "run", "--temp", "--name", "aside", "-S", "evaluate.seed=1")
        output = run(project, *command, check=False)
        assert "so DVC would lose experiments of --temp, queues and sweeps: git fetch --unshallow" in output
        assert stages_run(output) == []
        run(project, "git", "fetch", "--unshallow")
        run(project, *command)
        assert run(project, "dvc", "exp", "list", "--name-only").split() == ["aside"]
        assert len(small.tracked_runs(project)) == 2


@pytest.mark.slow
class TestMistakes:
    """A slip of the user's ends in one line that says what to do, not in a traceback."""

    @pytest.mark.parametrize(
        ("name", "value", "message"),
        [
            ("train.dropout", [1.5], "train.dropout"),
            ("train.optimiser", "adamm", "train.optimiser"),
            ("train.epoch", 5, "train.epoch is unknown: did you mean epochs?"),
            ("extract.backbone", "vgg61", "extract.backbone must be one of convnext_tiny, "),
        ],
    )
    def test_a_wrong_param(self, project: Path, name: str, value: object, message: str) -> None:
        set_param(project, name, value)
        output = run(project, "dvc", "repro", check=False)
        assert message in output
        assert "edit params.yaml" in output
        assert "Traceback" not in output

    def test_params_edited_while_training_are_not_recorded_as_those_of_the_model(self, project: Path) -> None:
        small.train_long(project, epochs=60)
        repro = small.start(project, "dvc", "repro")
        small.wait_for(lambda: small.tracked_runs(project)[-1]["epochs"] > 3 and len(small.tracked_runs(project)) == 2)
        set_param(project, "train.epochs", 6)
        assert repro.wait() != 0
        assert small.tracked_runs(project)[-1]["status"] == "FAILED"
        assert stages_run(run(project, "dvc", "repro")) == AFTER_TRAIN
        assert small.tracked_runs(project)[-1]["epochs"] == 6

    def test_an_unknown_dataset(self, project: Path) -> None:
        samples.activate(project, ["patern"])
        output = run(project, "dvc", "repro", check=False)
        assert "dataset 'patern' is not in datasets.yaml: did you mean patterns?" in output

    def test_a_slip_that_the_start_finds_leaves_the_model_of_before(self, project: Path) -> None:
        set_param(project, "train.dropout", [1.5])
        run(project, "dvc", "repro", check=False)
        assert (project / "data" / "models" / DATASET / "top.keras").exists()

    def test_a_failed_training_leaves_no_model_behind(self, project: Path) -> None:
        set_param(project, "train.model", "cnn")
        set_param(project, "cnn.pooling", 1000)
        assert "cnn.pooling leaves nothing of 32 pixels" in run(project, "dvc", "repro", check=False)
        assert not (project / "data" / "models" / DATASET / "top.keras").exists()
