"""Entry point of the fresh process that tests an export; it loads TensorFlow and nothing else.

Other libraries may register ops or hold variables that the export lacks.

    python -m components.serving_check.fresh_process FOLDER
"""

import gc
import sys
from pathlib import Path


def main(folder: Path) -> None:
    """Loads TensorFlow and tests the export that the files in a folder describe."""
    # TF Serving has no Keras. TensorFlow imports one of these if it can, with Matplotlib or pandas, which takes 2 s.
    sys.modules.update({"keras": None, "tf_keras": None})  # type: ignore[dict-item]
    # Nothing that the imports create becomes garbage, so Python need not look for it.
    gc.disable()
    import tensorflow as tf

    from components.serving_check.probe import probe

    gc.freeze()
    gc.enable()
    tf.get_logger().setLevel("ERROR")
    # For Python, optimizing a graph takes longer than running it once. Sessions have options of their own.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    probe(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
