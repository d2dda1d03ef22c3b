"""The documentation's Keras program on TensorFlow: saves its model untrained, then trains it.

    python tensorflow_program.py DATA.npz FOLDER EPOCHS SEED THREADS

FOLDER gets `model.keras` and `answers.npy`.
"""

import os
import sys
from pathlib import Path

data, folder, epochs, seed, threads = sys.argv[1:]
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from tensorflow.keras.layers import Conv2D, Dense, Flatten, MaxPooling2D  # noqa: E402
from tensorflow.keras.models import Sequential  # noqa: E402

tf.config.threading.set_intra_op_parallelism_threads(int(threads))
tf.config.threading.set_inter_op_parallelism_threads(1)
with np.load(data) as rows:
    x_train, y_train, x_test = rows["x_train"], rows["y_train"], rows["x_test"]

tf.keras.utils.set_random_seed(int(seed))
model = Sequential()
model.add(Conv2D(32, (3, 3), activation="relu", input_shape=(28, 28, 1)))
model.add(MaxPooling2D((2, 2)))
model.add(Flatten())
model.add(Dense(10, activation="softmax"))
model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
model.save(Path(folder) / "model.keras")

model.fit(x_train, y_train, epochs=int(epochs), verbose=0)
np.save(Path(folder) / "answers.npy", model.predict(x_test, verbose=0))
