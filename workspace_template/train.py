#!/usr/bin/env python3
"""Trains a classifier of iris species: a small, real example of a script that the scheduler runs.

    python train.py --config_path configs/mlp_8.yml

The data are Fisher's 150 flowers (data/iris.csv: R. A. Fisher, "The use of multiple measurements in taxonomic
problems", 1936). A fifth of them, the same for every config, is held out for testing. The model is a network with one
hidden layer, or none, trained by stochastic gradient descent; nothing but the standard library is needed.

What a script of yours should do for the scheduler is all here:

1. take `--config_path`;
2. write `out/{config name}_completed.txt` when it is done (the scheduler writes it after exit code 0 if you do not);
3. end with an exit code other than 0 when something went wrong;
4. leave the choice of the GPU to CUDA_VISIBLE_DEVICES, as every framework does by itself;
5. save a checkpoint from time to time and go on from the newest one when it is started again (see `train`), so that a
   crash, a time limit or a reboot costs minutes and not the whole run;
6. log its metrics and its progress, for whoever watches.

5 and 6 are `current_job()`, which the scheduler puts within reach of any Python (at the end of PYTHONPATH). Run by hand
where it is not installed, everything else works.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import random
import time

try:
    from researchflow_tmux import current_job
except ImportError:
    current_job = None

WORKSPACE = os.path.dirname(os.path.abspath(__file__))
FEATURES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
SPECIES = ["setosa", "versicolor", "virginica"]
SPLIT_SEED = 1936


def read_config(path):
    """Read `key: value` lines, with one level of sections: enough YAML for configs/, without a library."""
    config, section = {}, None
    with open(path, encoding="utf-8") as file:
        for line in file:
            line = line.split(" #")[0].rstrip()
            if not line or line.startswith("#"):
                continue
            key, _, value = (part.strip() for part in line.partition(":"))
            if not value:
                section = config.setdefault(key, {})
            elif line[0] == " ":
                section[key] = parse(value)
            else:
                config[key] = parse(value)
    return config


def parse(value):
    if value.startswith("["):
        return [parse(item.strip()) for item in value.strip("[]").split(",")]
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            pass
    return value.strip("\"'")


def load_data(features):
    """Return (training set, test set): lists of (standardised measurements, index of the species)."""
    with open(os.path.join(WORKSPACE, "data", "iris.csv"), encoding="utf-8", newline="") as file:
        flowers = [
            ([float(row[name]) for name in features], SPECIES.index(row["species"])) for row in csv.DictReader(file)
        ]
    train, test = [], []
    rng = random.Random(SPLIT_SEED)
    for species in range(len(SPECIES)):  # a fifth of each species
        group = [flower for flower in flowers if flower[1] == species]
        rng.shuffle(group)
        test += group[: len(group) // 5]
        train += group[len(group) // 5 :]
    columns = [[x[i] for x, _ in train] for i in range(len(features))]
    means = [sum(column) / len(column) for column in columns]
    spreads = [
        math.sqrt(sum((value - mean) ** 2 for value in column) / len(column))
        for column, mean in zip(columns, means, strict=True)
    ]

    def standardise(flower):
        return [(value - mean) / spread for value, mean, spread in zip(flower[0], means, spreads, strict=True)], flower[
            1
        ]

    return [standardise(flower) for flower in train], [standardise(flower) for flower in test]


class Layer:
    """A fully connected layer: weights[output][input], with the bias as the last weight."""

    def __init__(self, inputs, outputs, rng):
        scale = 1 / math.sqrt(inputs)
        self.weights = [[rng.uniform(-scale, scale) for _ in range(inputs)] + [0.0] for _ in range(outputs)]
        self.clear()

    def clear(self):
        self.gradient = [[0.0] * len(row) for row in self.weights]

    def forward(self, x):
        return [sum(w * value for w, value in zip(row, x, strict=False)) + row[-1] for row in self.weights]

    def backward(self, x, errors):
        """Add to the gradient, and return the errors of the inputs."""
        for row, error in zip(self.gradient, errors, strict=True):
            for i, value in enumerate(x):
                row[i] += error * value
            row[-1] += error
        return [sum(error * row[i] for error, row in zip(errors, self.weights, strict=True)) for i in range(len(x))]

    def step(self, rate, decay, count):
        for row, gradient in zip(self.weights, self.gradient, strict=True):
            for i, slope in enumerate(gradient):
                row[i] -= rate * (slope / count + (decay * row[i] if i < len(row) - 1 else 0.0))
        self.clear()


class Network:
    def __init__(self, inputs, hidden, rng):
        self.hidden = Layer(inputs, hidden, rng) if hidden else None
        self.output = Layer(hidden or inputs, len(SPECIES), rng)

    def forward(self, x):
        """Return (values of the hidden layer, probability of each species)."""
        inner = [math.tanh(value) for value in self.hidden.forward(x)] if self.hidden else x
        scores = self.output.forward(inner)
        exponentials = [math.exp(score - max(scores)) for score in scores]
        total = sum(exponentials)
        return inner, [value / total for value in exponentials]

    def learn(self, batch, rate, decay):
        """Make one step of gradient descent; return the summed loss of the batch."""
        loss = 0.0
        for x, species in batch:
            inner, probabilities = self.forward(x)
            loss -= math.log(max(probabilities[species], 1e-12))
            errors = [p - (i == species) for i, p in enumerate(probabilities)]
            back = self.output.backward(inner, errors)
            if self.hidden:
                self.hidden.backward(x, [error * (1 - value * value) for error, value in zip(back, inner, strict=True)])
        for layer in (self.hidden, self.output):
            if layer:
                layer.step(rate, decay, len(batch))
        return loss

    def state_dict(self):
        """Everything that was learned, as plain lists; `load_state_dict` takes it back."""
        return {"hidden": self.hidden and self.hidden.weights, "output": self.output.weights}

    def load_state_dict(self, state):
        self.output.weights = state["output"]
        if self.hidden:
            self.hidden.weights = state["hidden"]

    def accuracy(self, flowers):
        hits = 0
        for x, species in flowers:
            probabilities = self.forward(x)[1]
            hits += probabilities.index(max(probabilities)) == species
        return hits / len(flowers)


def train(network, data, test, options, rng):
    """Train from the newest checkpoint on, or from the start; return what every epoch brought."""
    epochs = options.get("epochs", 60)
    rate, decay = options.get("learning_rate", 0.1), options.get("weight_decay", 0.0)
    size = options.get("batch_size", 16)
    job = current_job() if current_job else None
    history = []

    # All that the rest of the training depends on, the order of the data and the dice included: so a run that was
    # interrupted ends with the very numbers of one that was not.
    resumed = job.checkpoint.load_latest() if job else None
    if resumed:
        history, data[:] = resumed.state["history"], resumed.state["data"]
        network.load_state_dict(resumed.state["network"])
        rng.setstate(resumed.state["rng"])
        print(f"resumed after epoch {resumed.step} from {resumed.place}", flush=True)

    for epoch in range(len(history) + 1, epochs + 1):
        began = time.monotonic()
        rng.shuffle(data)
        loss = sum(network.learn(data[i : i + size], rate, decay) for i in range(0, len(data), size)) / len(data)
        row = {"epoch": epoch, "loss": loss, "train": network.accuracy(data), "test": network.accuracy(test)}
        time.sleep(options.get("epoch_seconds", 0))
        row["seconds"] = round(time.monotonic() - began, 3)
        history.append(row)
        filled = round(20 * epoch / epochs)
        print(
            f"epoch {epoch:{len(str(epochs))}}/{epochs}  [{'#' * filled}{'.' * (20 - filled)}]"
            f"  loss {loss:6.4f}  train {row['train']:6.1%}  test {row['test']:6.1%}",
            flush=True,
        )
        if job:
            job.log_metric("loss", loss, step=epoch)
            job.log_metric("accuracy", row["test"], step=epoch)
            job.progress(epoch, epochs)
            if job.checkpoint.every(steps=5):  # a long training rather says every(minutes=10)
                state = {"network": network, "history": history, "data": data, "rng": rng.getstate()}
                job.checkpoint.save(state, step=epoch)
    return history


def write_atomic(path, text):
    """Whoever looks sees all of the file or none of it."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = f"{path}.{os.getpid()}.tmp"
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def main():
    parser = argparse.ArgumentParser(description="Train a classifier of iris species.")
    parser.add_argument("--config_path", required=True, help="the experiment, such as configs/mlp_8.yml")
    path = parser.parse_args().config_path
    config = read_config(path)
    name = os.path.splitext(os.path.basename(path))[0]
    # Every job of a sweep has a folder of its own, which the scheduler names.
    out = os.path.join(WORKSPACE, config.get("root_dir") or os.environ.get("RFSCHED_OUTPUT_DIR", "out"))
    options = config.get("training", {})
    features = config.get("data", {}).get("features", FEATURES)
    hidden = config.get("model", {}).get("hidden_units", 8)

    data, test = load_data(features)
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "not set")
    print(f"{name}: {len(data)} flowers to learn from, {len(test)} to test on")
    print(f"CUDA_VISIBLE_DEVICES is {gpu}; such a small network does not need it")
    print(f"from {', '.join(features)}")
    print(f"by way of {hidden or 'no'} hidden units to {', '.join(SPECIES)}", flush=True)
    rng = random.Random(options.get("seed", 1))
    network = Network(len(features), hidden, rng)
    history = train(network, data, test, options, rng)
    seconds = sum(row["seconds"] for row in history)  # with those of the runs before this one

    accuracy = history[-1]["test"]
    result = {
        "name": name,
        "config": config,
        "test_accuracy": accuracy,
        "seconds": round(seconds, 3),
        "history": history,
    }
    write_atomic(os.path.join(out, f"{name}_result.json"), json.dumps(result, indent=1) + "\n")
    finished = time.strftime("%Y-%m-%d %H:%M:%S")
    marker = f"Task: {name}\nCompleted at: {finished}\nTest accuracy: {accuracy:.4f}\n"
    write_atomic(os.path.join(out, f"{name}_completed.txt"), marker)
    print(f"{name}: test accuracy {accuracy:.1%} after {seconds:.1f} s")


if __name__ == "__main__":
    main()
