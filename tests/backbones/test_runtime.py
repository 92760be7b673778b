import subprocess
import sys

from tests.tiny import ROOT


def test_keras_comes_without_libraries_that_it_can_do_without_and_they_can_be_imported_later():
    code = """
import sys
from bottletop.backbones.runtime import OPTIONAL, keras, tf
assert not set(OPTIONAL) & set(sys.modules), "imported"
import matplotlib.pyplot, pandas, sklearn.metrics
print(int(keras.ops.sum(tf.ones(3))))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "3\n"
