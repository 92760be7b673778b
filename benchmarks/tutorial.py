"""Features as tutorials extract them: batches of 50 from a generator, `predict`, `np.save`; see `extraction`.

    python -m benchmarks.tutorial FOLDER_OF_PHOTOS WEIGHTS.npz

Does it for each file name that it reads, and prints its seconds by the clock and of CPU time. Nothing of bottletop is
imported, which would set TensorFlow up in its own way.
"""

import contextlib
import io
import json
import sys
import time

import keras
import numpy as np
import tensorflow as tf

SIDE_PX, BATCH = 224, 50


def main(folder: str, weights: str) -> None:
    arrays = np.load(weights)
    model = keras.applications.VGG16(weights=None, include_top=False, input_shape=(SIDE_PX, SIDE_PX, 3))
    for layer in {name.partition("/")[0] for name in arrays.files}:
        model.get_layer(layer).set_weights([arrays[f"{layer}/kernel"], arrays[f"{layer}/bias"]])
    for line in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        with contextlib.redirect_stdout(io.StringIO()):  # it says how many images it found
            generator = tf.keras.preprocessing.image.ImageDataGenerator(rescale=1 / 255).flow_from_directory(
                folder, target_size=(SIDE_PX, SIDE_PX), batch_size=BATCH, class_mode=None, shuffle=False
            )
        np.save(line.strip(), model.predict(generator, verbose=0))
        print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu]), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
