import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image
from sklearn.datasets import load_sample_image

from bottletop.backbones import extractor
from bottletop.backbones.extractor import NCNN, TENSORFLOW, Extractor
from bottletop.backbones.runtime import keras, tf
from bottletop.core.errors import ArtefactError
from bottletop.download.weight_sources import LAYERS
from bottletop.images.decoding import square
from tests.tiny import ENGINES, MEANS_BGR, random_weights

FLOAT32 = (extractor.NCNN, extractor.TENSORFLOW)
ID = "-".join  # of an engine, in a test's name
BLOCK_SLICES = {  # of the pooled features
    "block3 averages": slice(0, 256),
    "block3 maxima": slice(256, 512),
    "block4 averages": slice(512, 1024),
    "block4 maxima": slice(1024, 1536),
    "block5 averages": slice(1536, 2048),
    "block5 maxima": slice(2048, 2560),
}


def noise(count, side, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), np.uint8)


def plain_layers(weights, image):
    """The output of each layer by the book, in float64: Simonyan and Zisserman (2015), configuration D."""
    values = image[..., ::-1] - np.array([103.939, 116.779, 123.68])
    outputs = {}
    for layer in LAYERS:
        if layer.endswith("conv1") and outputs:
            values = plain_pool(values)
        padded = np.pad(values, ((1, 1), (1, 1), (0, 0)))
        windows = sliding_window_view(padded, (3, 3), (0, 1))  # (height, width, channels, 3, 3)
        kernel = weights[f"{layer}/kernel"].astype(np.float64)
        values = np.tensordot(windows, kernel, ((3, 4, 2), (0, 1, 2))) + weights[f"{layer}/bias"]
        values = outputs[layer] = np.maximum(values, 0)
    return outputs


def plain_pool(values):
    height, width, channels = values.shape[0] // 2, values.shape[1] // 2, values.shape[2]
    return values[: 2 * height, : 2 * width].reshape(height, 2, width, 2, channels).max((1, 3))


def plain_vgg16(weights, image):
    """The five blocks' pools."""
    layers = plain_layers(weights, image)
    return [plain_pool(layers[f"block{block}_conv{2 if block < 3 else 3}"]) for block in range(1, 6)]


@pytest.mark.parametrize("engine", FLOAT32, ids=ID)
@pytest.mark.parametrize("side", [32, 50, 64])
def test_float32_agrees_with_vgg16_in_plain_numpy(side, engine):
    [image] = noise(1, side)
    pools = plain_vgg16(random_weights(), image)
    bottleneck, pooled = Extractor("vgg16", random_weights(), side, engine)(image[None])
    expected = np.concatenate([pool(block, (0, 1)) for block in pools[2:] for pool in (np.mean, np.max)])
    assert (bottleneck.shape, pooled.shape) == ((1, side // 32, side // 32, 512), (1, 2560))
    assert (bottleneck.dtype, pooled.dtype) == (np.float16, np.float16)
    # float16 keeps 11 bits: 2**-11 of each value; float32's own error, 1e-6, shows in small values only
    np.testing.assert_allclose(bottleneck[0], pools[-1], rtol=6e-4, atol=1e-4 * pools[-1].max())
    np.testing.assert_allclose(pooled[0], expected, rtol=6e-4, atol=1e-4 * expected.max())


def test_images_are_prepared_as_keras_prepares_them_for_vgg16():
    image = noise(1, 8).astype(np.float64)
    expected = keras.applications.vgg16.preprocess_input(image.copy())
    np.testing.assert_allclose(image[..., ::-1] - MEANS_BGR, expected, atol=1e-4)


@pytest.mark.parametrize("engine", ENGINES, ids=ID)
def test_rows_come_back_in_order_without_the_padding(engine):
    extract = Extractor("vgg16", random_weights(), 32, engine)
    images = noise(8, 32)
    bottleneck, pooled = extract(images)
    for count in (1, 3, 7):
        fewer = extract(images[:count])
        np.testing.assert_array_equal(fewer[0], bottleneck[:count])
        np.testing.assert_array_equal(fewer[1], pooled[:count])


@pytest.mark.parametrize("engine", ENGINES, ids=ID)
def test_an_images_features_do_not_depend_on_its_neighbours_or_place(engine):
    extract = Extractor("vgg16", random_weights(), 64, engine)
    images = noise(8, 64)
    bottleneck, pooled = extract(images)
    for kind, turned in enumerate(extract(images[::-1])):
        np.testing.assert_array_equal((bottleneck, pooled)[kind], turned[::-1])
    for kind, others in enumerate(extract(np.concatenate([images[:1], noise(7, 64, seed=1)]))):
        np.testing.assert_array_equal((bottleneck, pooled)[kind][0], others[0])


def test_with_ncnn_the_number_of_threads_changes_no_bit(monkeypatch):
    images, found = noise(9, 64), set()
    for threads in ("1", "2", "5"):
        monkeypatch.setenv("BOTTLETOP_THREADS", threads)
        features = Extractor("vgg16", random_weights(), 64, extractor.NCNN)(images)
        found.add(b"".join(values.tobytes() for values in features))
    assert len(found) == 1


def test_two_engines_in_float32_agree_but_for_float16_steps():
    """Winograd's sums differ by 1e-6 of a map's largest value from others: by a step now and then, more near 0."""
    ours, theirs = (Extractor("vgg16", random_weights(), 64, engine)(noise(8, 64)) for engine in FLOAT32)
    for one, other in zip(ours, theirs, strict=True):
        assert (one == other).mean() > 0.95
        np.testing.assert_allclose(one, other, rtol=2**-10, atol=1e-5 * other.max())


def test_bfloat16_agrees_with_float32():
    """bfloat16 keeps 8 bits, 0.4 % a step; over 13 layers the errors average out to about as much of the whole."""
    images = noise(4, 64)
    for which in (0, 1):  # bottleneck, pooled
        exact, rough = (
            Extractor("vgg16", random_weights(), 64, engine)(images)[which].astype(np.float64)
            for engine in (extractor.NCNN, extractor.BFLOAT16)
        )
        assert not np.array_equal(exact, rough)  # it was indeed computed in another precision
        assert np.linalg.norm(exact - rough) < 0.02 * np.linalg.norm(exact)


def test_the_dtype_policy_of_other_models_is_left_alone():
    before = keras.config.dtype_policy().name
    Extractor("vgg16", random_weights(), 32, extractor.BFLOAT16)(noise(1, 32))
    assert keras.config.dtype_policy().name == before


@pytest.mark.parametrize("engine", FLOAT32, ids=ID)
def test_values_beyond_float16_are_clipped_to_its_largest(engine):
    large = {**random_weights(), "block5_conv3/bias": np.full(512, 1e6, np.float32)}
    bottleneck, pooled = Extractor("vgg16", large, 32, engine)(noise(1, 32))
    assert (bottleneck == np.float16(65504)).all()
    assert (pooled[:, BLOCK_SLICES["block5 averages"]] == np.float16(65504)).all()
    assert (pooled[:, BLOCK_SLICES["block4 averages"]] < 1000).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("layer", ["block1_conv1", "block5_conv3"])
def test_weights_that_are_not_finite_are_refused(layer, value):
    broken = random_weights()[f"{layer}/kernel"].copy()
    broken[1, 1, 1, 1] = value
    with pytest.raises(ArtefactError, match="weights are not finite"):
        Extractor("vgg16", {**random_weights(), f"{layer}/kernel": broken}, 32, extractor.NCNN)(noise(1, 32))


@pytest.mark.parametrize("engine", ENGINES, ids=ID)
@pytest.mark.parametrize("layer", ["block1_conv2", "block5_conv3"])
def test_weights_whose_features_may_overflow_float32_are_refused(layer, engine):
    """Infinite sums may come out as 0: ReLU makes that of NaN on some processors."""
    kernel = random_weights()[f"{layer}/kernel"]
    with pytest.raises(ArtefactError, match="so large that features may overflow float32"):
        Extractor("vgg16", {**random_weights(), f"{layer}/kernel": kernel * np.float32(1e38)}, 32, engine)(noise(1, 32))


def test_a_weight_as_no_network_has_it_is_refused_where_no_bound_is_known():
    kernel = np.full((1, 1, 3, 3), -1e19, np.float32)
    with pytest.raises(ArtefactError, match="so large that features may overflow float32"):
        Extractor("inception_v3", {"conv2d/kernel": kernel}, 75, extractor.TENSORFLOW)(noise(1, 75))


def test_weights_may_be_large_where_nothing_can_overflow():
    large = {**random_weights(), "block5_conv3/kernel": random_weights()["block5_conv3/kernel"] * np.float32(1e6)}
    bottleneck, _ = Extractor("vgg16", large, 32, extractor.NCNN)(noise(1, 32))
    assert bottleneck.max() == np.float16(65504)


@pytest.mark.parametrize(
    ("name", "wanted", "expected"),
    [
        ("vgg16", "float32", extractor.NCNN),
        ("vgg16", "bfloat16", extractor.BFLOAT16),
        ("resnet50", "float32", extractor.TENSORFLOW),
        ("resnet50", "bfloat16", extractor.BFLOAT16),
    ],
)
def test_a_precision_that_is_asked_for_is_used(no_gpu, name, wanted, expected):
    assert extractor.best_engine(name, wanted) == expected


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("flags : fpu avx512f avx512_bf16", extractor.BFLOAT16),
        ("flags : fpu amx_bf16 amx_tile", extractor.BFLOAT16),
        ("flags : fpu avx2 avx512f", extractor.NCNN),
        (None, extractor.NCNN),  # not Linux
    ],
)
def test_auto_is_bfloat16_where_the_processor_computes_in_it(tmp_path, monkeypatch, flags, expected):
    if flags is not None:
        (tmp_path / "/proc/cpuinfo".replace("/", "_")).write_text(flags)
    monkeypatch.setattr(extractor, "Path", lambda name: tmp_path / name.replace("/", "_"))  # no device of a GPU either
    assert extractor.best_engine("vgg16", "auto") == expected


@pytest.mark.parametrize(
    ("capabilities", "expected"), [([(8, 0), (8, 9)], extractor.BFLOAT16), ([(8, 0), (7, 5)], extractor.TENSORFLOW)]
)
def test_auto_is_bfloat16_where_every_gpu_computes_in_it(tmp_path, monkeypatch, capabilities, expected):
    (tmp_path / "gpu").touch()
    monkeypatch.setattr(extractor, "GPUS", (tmp_path / "gpu",))
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda _: capabilities)
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: {"compute_capability": gpu})
    assert extractor.best_engine("vgg16", "auto") == expected


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(extractor, "GPUS", ())


# Features of scikit-learn's china.jpg at 224 px from the ImageNet weights, as `plain_vgg16` gives them in float64.
# Float16 rounds them by 2**-11, 0.05 %; the order of a processor's float32 sums adds 1e-6.
GOLDEN = {  # position among the pooled features -> value
    0: 450.834,
    1: 294.933,
    255: 109.958,
    256: 2941.44,
    257: 3105.73,
    511: 2321.56,
    512: 56.6155,
    1023: 59.3121,
    1024: 870.794,
    1535: 507.610,
    1538: 1.43496,
    1589: 33.8237,
    2050: 18.7277,
    2101: 210.180,
}
GOLDEN_BOTTLENECK = (210.180, 1.73332, 9.18463, 0.0713887)  # maximum, mean, standard deviation, share above 0


@pytest.fixture(scope="module")
def china(real_weights):
    image = square(Image.fromarray(load_sample_image("china.jpg")), 224)
    return {engine: Extractor("vgg16", real_weights, 224, engine)(image[None]) for engine in ENGINES}


@pytest.mark.slow
@pytest.mark.parametrize("engine", FLOAT32, ids=ID)
def test_features_of_a_photo_from_the_real_weights_are_as_ever(china, engine):
    bottleneck, pooled = (values[0].astype(np.float64) for values in china[engine])
    for position, value in GOLDEN.items():
        assert pooled[position] == pytest.approx(value, rel=1e-3)
    found = (bottleneck.max(), bottleneck.mean(), bottleneck.std(), (bottleneck > 0).mean())
    assert found == pytest.approx(GOLDEN_BOTTLENECK, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("block", BLOCK_SLICES)
def test_bfloat16_agrees_with_float32_on_a_photo(china, block):
    """Measured with AMX: cosine 0.99998 or better, largest error 0.8 % of the block's largest feature.

    Processors differ in their bfloat16 kernels (AMX and AVX-512 add up in float32, others may not), so that twice the
    error is allowed.
    """
    exact, rough = (
        china[engine][1][0, BLOCK_SLICES[block]].astype(np.float64) for engine in (extractor.NCNN, extractor.BFLOAT16)
    )
    assert exact @ rough / np.linalg.norm(exact) / np.linalg.norm(rough) >= 0.999
    assert np.abs(exact - rough).max() <= 0.016 * exact.max()


# Batches


def batch_size(side, engine):
    return Extractor("vgg16", {}, side, engine).batch_size


def test_the_smaller_the_images_the_more_are_computed_at_once(monkeypatch):
    monkeypatch.setenv("BOTTLETOP_THREADS", "2")
    for engine in ENGINES:
        sizes = [batch_size(side, engine) for side in (32, 96, 224, 352)]
        assert sizes == sorted(sizes, reverse=True)
        assert sizes[1] * 96**2 == pytest.approx(sizes[2] * 224**2, rel=0.02)
        assert (sizes[0], sizes[3]) == (extractor.LARGEST_BATCH, extractor.SMALLEST_BATCH)


def test_with_ncnn_every_thread_has_images_in_a_batch(monkeypatch):
    monkeypatch.setenv("BOTTLETOP_THREADS", "32")
    assert batch_size(224, extractor.NCNN) == 128
    assert batch_size(224, extractor.BFLOAT16) == 8


def test_the_batch_size_can_be_pinned(monkeypatch):
    monkeypatch.setenv("BOTTLETOP_BATCH_SIZE", "3")
    assert {batch_size(224, engine) for engine in ENGINES} == {3}


@pytest.mark.parametrize("engine", [NCNN, TENSORFLOW], ids=lambda engine: engine.name)
def test_a_missing_weight_is_refused_by_name(engine):
    arrays = {name: array for name, array in random_weights().items() if name != "block4_conv2/kernel"}
    with pytest.raises(ArtefactError, match="weights lack 'block4_conv2/kernel': run dvc repro weights"):
        Extractor("vgg16", arrays, 32, engine)(np.zeros((1, 32, 32, 3), np.uint8))
