"""What the library uses of DVC, Keras, TensorFlow and MLflow beyond their public interfaces.

pyproject.toml therefore pins their minor versions. Before a new version is allowed there, these tests say what has
changed, and each docstring says which module leans on it.
"""

import inspect
import json
import os
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path

import dvc.env
import mlflow
import numpy as np
import pytest
import yaml
from dvc.api import DVCFileSystem
from dvc.fs import LocalFileSystem
from dvc.lock import Lock
from dvc.repo import Repo
from dvc.repo.experiments import Experiments
from dvc.repo.experiments.queue import tempdir
from dvc.repo.experiments.queue.tasks import run_exp
from dvc.repo.experiments.refs import ExpRefInfo
from dvc.rwlock import RWLOCK_FILE, RWLOCK_LOCK, rwlock
from dvc.utils.serialize import YAMLFileCorruptedError, load_yaml, parse_yaml
from mlflow.store.model_registry.dbmodels.models import SqlModelVersion
from mlflow.store.tracking.dbmodels.models import SqlRun
from mlflow.utils import mlflow_tags, validation
from ruamel.yaml import YAML

from benchmarks import samples
from bottletop.backbones import tensorflow_engine
from bottletop.backbones.runtime import keras
from bottletop.core import lock, paths, settings
from bottletop.doctor import cache, dvc_cache, leftovers, remote, store
from bottletop.experiments import alone, refs
from bottletop.inference import mlflow_model, registry
from bottletop.tracking import columns, description, logged_data, origin, owner, relocation, runs

PINNED = ("dvc", "keras", "mlflow", "tensorflow")
STAGE = {
    "cmd": "mkdir folder; echo a > folder/a; echo b > file",
    "deps": ["input"],
    "params": ["seed"],
    "outs": ["folder", "file"],
}


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A DVC repository with a pipeline of one stage, which has run."""
    root = tmp_path_factory.mktemp("contracts")
    (root / "input").write_text("input\n")
    (root / "params.yaml").write_text("seed: 0\n")
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"make": STAGE}}))
    samples.git(root, "init", "--quiet")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("DVC_SITE_CACHE_DIR", str(root / "site"))
        (root / "site").mkdir(mode=0o700)
        with Repo.init() as repo:
            repo.reproduce()
    return root


@pytest.fixture
def inside(repository, monkeypatch):
    monkeypatch.chdir(repository)
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(repository / "site"))
    return repository


@pytest.mark.parametrize("name", PINNED)
def test_the_installed_version_is_one_that_pyproject_toml_allows(name):
    project = tomllib.loads((samples.ROOT / "pyproject.toml").read_text())["project"]
    [line] = [line for line in project["dependencies"] if line.partition(">=")[0].partition("[")[0] == name]
    major, minor, *_ = map(int, version(name).split("."))
    assert line.partition(">=")[2] == f"{major}.{minor},<{major}.{minor + 1}"


class TestDvc:
    def test_yaml_is_read_by_a_compiled_parser_which_wants_quotes_around_a_colon_in_brackets(self):
        """pyproject.toml names the parser; `settings` refuses what it does not take, and reads the rest as it does."""
        assert YAML(typ="safe").Parser.__name__ == "CParser"
        text = "urls: [http://a]"
        with pytest.raises(YAMLFileCorruptedError):
            parse_yaml(text, "file.yaml")
        with pytest.raises(yaml.YAMLError):
            settings.parse_yaml(text)
        for path in samples.ROOT.glob("*.yaml"):
            assert settings.read_yaml(path) == load_yaml(path)

    def test_dvc_lock(self, inside):
        """core/lock.py reads it, for `bottletop results`, tracking, experiments and doctor."""
        entry = lock.read_entries()["make"]
        assert entry["params"] == {"params.yaml": {"seed": 0}}
        assert lock.hashes(entry, "deps").keys() == {"input"}
        outs = lock.hashes(entry, "outs")
        assert (outs.keys(), outs["folder"][-4:], len(outs["file"])) == ({"folder", "file"}, ".dir", 32)

    def test_the_cache(self, inside):
        """doctor/dvc_cache.py finds the cache's objects, and which files they belong to."""
        objects = dvc_cache.cache_objects()
        assert dvc_cache.outputs(objects).keys() == {Path("folder/a"), Path("file")}
        for path, md5 in dvc_cache.outputs(objects).items():
            assert objects[md5].read_bytes() == path.read_bytes()

    def test_the_lock_on_paths(self, tmp_path):
        """tracking/owner.py reads from it which processes work in a workspace."""
        assert Path(".dvc/tmp", RWLOCK_FILE) == owner.LOCK
        with rwlock(str(tmp_path), LocalFileSystem(), "dvc repro", ["/read"], ["/written"], hardlink=False):
            assert owner.lock_holders(tmp_path / RWLOCK_FILE) == {os.getpid()}

    def test_lock_files(self, inside):
        """doctor/leftovers.py looks for them where ``core.hardlink_lock`` is set."""
        with Repo() as repo:
            assert isinstance(repo.lock, Lock)
            assert Path(repo.lock.lockfile).relative_to(inside) == leftovers.TEMPORARY / "lock"
        assert RWLOCK_LOCK == "rwlock.lock"

    def test_folders_of_temporary_experiments(self):
        """doctor/leftovers.py looks for those of killed commands."""
        assert tempdir.EXEC_TMP_DIR == "exps"
        assert tempdir._STANDALONE_TMP_DIR == "exps/standalone"

    def test_the_queue_of_tasks(self, inside):
        """doctor/leftovers.py finds tasks without a result in the folder of those that a worker has taken."""
        assert run_exp.name == leftovers.QUEUED
        with Repo() as repo:
            celery = repo.experiments.celery_queue.celery
            folders = celery.conf.broker_transport_options["processed_folder"], celery.conf.result_backend[7:]
            places = [Path(folder).relative_to(inside / leftovers.EXPERIMENTS) for folder in folders]
        assert places == [Path("celery/broker/processed"), Path("celery/result")]

    def test_the_queue_of_temporary_experiments(self, monkeypatch):
        """experiments/alone.py replaces one of its methods."""
        monkeypatch.setattr(tempdir.TempDirQueue, "reproduce", tempdir.TempDirQueue.reproduce)  # put back afterwards
        alone.run_one_each()
        assert list(inspect.signature(Experiments._reproduce_queue).parameters)[:2] == ["self", "queue"]
        assert "queue.reproduce(copy_paths=" in inspect.getsource(Experiments._reproduce_queue)

    def test_refs_of_experiments(self):
        """experiments/refs.py reads and removes experiments through git."""
        baseline = "0123456789" * 4
        assert refs._ref(baseline, "tidy-otter") == str(ExpRefInfo(baseline, "tidy-otter"))

    def test_variables_of_the_environment(self):
        """tracking/origin.py and core/paths.py learn from them which experiment runs, and where the repository is."""
        assert {origin.EXPERIMENT, "DVC_EXP_BASELINE_REV", "DVC_ROOT", "DVC_SITE_CACHE_DIR"} <= set(vars(dvc.env))

    def test_the_configuration(self, inside):
        """doctor reads it without opening the repository."""
        assert {"core", "cache", "remote"} <= dvc_cache.settings().keys()
        assert dvc_cache.link_type() in ("reflink", "hardlink", "symlink", "copy")

    def test_the_site_cache(self, inside):
        """doctor/cache.py checks who may write to it."""
        assert [finding.text for finding in cache.site_cache()] == [f"{inside / 'site'} is yours alone"]

    def test_the_file_system_of_a_remote(self, inside, tmp_path):
        """doctor/remote.py lists the remote with it."""
        (inside / ".dvc/config").write_text(f"[core]\n    remote = here\n['remote \"here\"']\n    url = {tmp_path}\n")
        assert remote.probe("here") is None
        (inside / ".dvc/config").write_text("")

    def test_a_file_of_a_version_comes_as_a_link_into_the_cache(self, inside, tmp_path):
        """features/versions.py asks for it with ``cache=True``, an option that is not documented."""
        DVCFileSystem(str(inside)).get_file("file", str(tmp_path / "file"), cache=True)
        assert (tmp_path / "file").read_text() == "b\n"


class TestMlflow:
    @pytest.mark.slow
    def test_the_schema_of_the_store(self, tmp_path):
        """doctor/store.py compares it with the schema that the installed MLflow would make."""
        uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
        mlflow.MlflowClient(uri).search_experiments()
        assert list(store._schema(uri, tmp_path / "mlflow.db")) == []

    @pytest.mark.parametrize(("table", "column"), relocation.ADDRESSES)
    def test_tables_with_the_paths_of_artefacts(self, table, column):
        """tracking/relocation.py changes them in a clone that was moved."""
        tables = {**SqlRun.metadata.tables, **SqlModelVersion.metadata.tables}
        assert column in tables[table].columns

    def test_tags(self):
        """tracking/origin.py writes them, and tracking/records.py reads them."""
        assert origin.COMMIT == mlflow_tags.MLFLOW_GIT_COMMIT
        assert mlflow_tags.MLFLOW_SOURCE_NAME == "mlflow.source.name"
        assert origin.PARENT == mlflow_tags.MLFLOW_PARENT_RUN_ID
        assert description.NOTE == mlflow_tags.MLFLOW_RUN_NOTE
        assert logged_data.CONTEXT == mlflow_tags.MLFLOW_DATASET_CONTEXT

    def test_limits(self):
        """tracking/runs.py and tracking/origin.py keep within them."""
        assert runs.METRICS_A_REQUEST == validation.MAX_METRICS_PER_BATCH
        assert runs.PARAMS_A_REQUEST == validation.MAX_PARAMS_TAGS_PER_BATCH
        assert origin.MAX_PARAM_LENGTH == validation.MAX_PARAM_VAL_LENGTH
        assert validation.MAX_DATASET_DIGEST_SIZE == 36

    @pytest.mark.parametrize(
        "text",
        [
            "mlflow.sharedViewState",
            "viewStateShareKey",
            "deflate;",
            "selectedColumns",
            "workflowType",
            "compareRunsMode",
            "compareRunSections",
            "compareRunCharts",
            "selectedMetricKeys",
            "metricSectionId",
            *runs.KIND,
            *runs.KIND.values(),
        ],
    )
    def test_names_in_the_ui(self, text):
        """tracking/columns.py and tracking/ui.py use them; test_browser.py looks at the pages."""
        scripts = Path(mlflow.__file__).parent.glob("server/js/build/static/js/*.js")
        assert any(text in script.read_text(encoding="utf-8") for script in scripts)
        assert next(iter(columns.tags([], {}))).startswith("mlflow.sharedViewState.")

    @pytest.mark.slow
    def test_the_folder_of_a_model(self, tmp_path):
        """inference/registry.py takes a registered model's files from it without running MLflow's loader."""
        (tmp_path / registry.FOLDER).mkdir()
        data, made = str(tmp_path / registry.FOLDER), tmp_path / "made"
        loader = mlflow_model.__name__
        mlflow.pyfunc.save_model(made, loader_module=loader, data_path=data, pip_requirements=["mlflow"])
        found = yaml.safe_load((made / "MLmodel").read_text())["flavors"]["python_function"]["data"]
        assert found == f"data/{registry.FOLDER}"


class TestKeras:
    def test_the_keras_file(self, tmp_path):
        """models/keras_file.py rewrites it, so that equal models give equal files."""
        inputs = keras.Input((2,))
        keras.Model(inputs, keras.layers.Dense(1, name="classes")(inputs)).save(tmp_path / "a.keras")
        with zipfile.ZipFile(tmp_path / "a.keras") as archive:
            assert sorted(archive.namelist()) == ["config.json", "metadata.json", "model.weights.h5"]
            assert "date_saved" in json.loads(archive.read("metadata.json"))

    def test_paths_of_variables(self):
        """backbones/tensorflow_engine.py names weights by them; pinned digests depend on these names."""
        network = tensorflow_engine._network("vgg16", 32, "float32")
        assert [variable.path for variable in network.weights[:2]] == ["block1_conv1/kernel", "block1_conv1/bias"]

    def test_layers_without_a_name_are_counted_from_the_start_after_clear_session(self):
        """backbones/tensorflow_engine.py clears it before each network, so that arrays keep their names."""
        names = []
        for _ in range(2):
            keras.utils.clear_session(free_memory=False)
            names.append(keras.layers.Dense(1).name)
        assert names == ["dense", "dense"]

    def test_whether_onednn_computes(self):
        """backbones/tensorflow_engine.py asks a private module of TensorFlow."""
        assert tensorflow_engine._has_onednn() in (True, False)

    def test_a_dense_layer_has_a_kernel_and_a_bias(self):
        """inference/heatmaps.py computes scores before softmax from them."""
        layer = keras.layers.Dense(2)
        layer.build((None, 3))
        assert [np.shape(layer.kernel), np.shape(layer.bias)] == [(3, 2), (2,)]


def test_the_main_repository_is_the_folder_that_dvc_names(monkeypatch):
    """core/paths.py: DVC sets the variable for its stages, in temporary experiments too."""
    monkeypatch.setenv(dvc.env.DVC_ROOT, "/somewhere")
    assert paths.repository() == Path("/somewhere")
