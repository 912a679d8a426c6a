"""Train a network on MNIST, or on the bundled digits where MNIST cannot be had.

    python examples/train_mnist.py
    python examples/train_mnist.py --model mlp --epochs 5
    python examples/train_mnist.py --data digits --plot
    python examples/train_mnist.py --data path/to/folder

After each epoch the test accuracy is printed and the weights are saved. Ctrl-C stops, and keeps the
last finished epoch.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
import time
from pathlib import Path

from tqdm import tqdm

import lazyarray as la
from lazyarray.data import MNIST, DataLoader, Digits
from lazyarray.device import as_device
from lazyarray.errors import FileError, LazyArrayError
from lazyarray.nn import Conv2D, Dense, Flatten, MaxPool2D, Module, Sequential

EPOCHS = {"mnist": 2, "digits": 30}
RATES = {"lenet": 0.05, "mlp": 0.1}
TEST_BATCH = 500
READ_EVERY = 50  # steps between two looks at the loss: each look waits for the engine
INTERRUPTED = 130  # exit status after Ctrl-C: 128 + SIGINT


def build(model: str) -> Module:
    """A network for images of shape (batch, 28, 28, 1), with ten classes."""
    if model == "mlp":
        return Sequential(
            Flatten(), Dense(256, activation="relu"), Dense(128, activation="relu"), Dense(10)
        )
    # LeCun et al. 1998 in the form that is common since: more channels, maxima, ReLU.
    return Sequential(
        Conv2D(20, kernel_size=5, activation="relu"),
        MaxPool2D(2),
        Conv2D(50, kernel_size=5, activation="relu"),
        MaxPool2D(2),
        Flatten(),
        Dense(500, activation="relu"),
        Dense(10),
    )


def load(data: str) -> tuple[str, str, object, object]:
    """The name of a dataset, where it lies, its training part and its testing part."""
    if data == "digits":
        parts = Digits(train=True, size=28), Digits(train=False, size=28)
        return "digits", "bundled with lazyarray", *parts
    root = None if data in ("auto", "mnist") else data
    try:
        return "mnist", place_of_mnist(root), MNIST(root, train=True), MNIST(root, train=False)
    except FileError as error:
        if data != "auto":
            raise
        print(f"MNIST cannot be had, so this trains on the bundled digits.\n{error}")
        return load("digits")


def place_of_mnist(root: str | None) -> str:
    """The folder that `MNIST` reads: it looks into these in this order, then into its cache."""
    roots = [Path(each) for each in (root, os.environ.get("LAZYARRAY_DATA")) if each]
    folders = [folder for each in roots for folder in (each, each / "mnist")]
    name = "train-images-idx3-ubyte"
    found = (f for f in folders if (f / name).is_file() or (f / f"{name}.gz").is_file())
    return str(next(found, "lazyarray's cache"))


def accuracy(net: Module, dataset: object) -> float:
    """The share of test images that are recognised."""
    metric = la.metric.Accuracy()
    for images, labels in DataLoader(dataset, TEST_BATCH):
        metric.update(labels, net(images))
    return metric.get()[1]


def train_epoch(
    net: Module, optimizer: la.optim.Optimizer, loader: DataLoader, title: str
) -> list[tuple[int, float]]:
    """Pass once over the data; some losses on the way, each with the number of its step."""
    measure = la.nn.SoftmaxCrossEntropyLoss()
    seen: list[tuple[int, float]] = []
    with tqdm(total=len(loader.dataset), desc=title, unit=" images", unit_scale=True) as bar:
        for step, (images, labels) in enumerate(loader, 1):
            with la.autograd.record():
                loss = measure(net(images), labels).mean()
            loss.backward()
            optimizer.step()
            if step % READ_EVERY == 0 or step == len(loader):
                value = loss.item()
                seen.append((optimizer.count, value))
                bar.set_postfix(loss=f"{value:.4f}", refresh=False)
                if not math.isfinite(value):
                    # The rate that was asked for: that of this step has fallen from it.
                    given = optimizer.lr_scheduler.base_lr
                    raise SystemExit(f"the loss is {value}: try a smaller --lr than {given:g}")
            bar.update(len(labels))
    return seen


def plot(path: Path, losses: list[tuple[int, float]], accuracies: list[float]) -> None:
    """Draw the loss and the accuracy."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(*zip(*losses, strict=True))
    left.set(xlabel="step", ylabel="loss", yscale="log")
    right.plot(range(1, len(accuracies) + 1), accuracies, marker="o")
    right.set(xlabel="epoch", ylabel="test accuracy")
    figure.savefig(path)


def positive(kind: type) -> object:
    """An argument's type: a finite number above 0."""

    def parse(text: str) -> int | float:
        value = kind(text)
        if not (math.isfinite(value) and value > 0):
            raise argparse.ArgumentTypeError(f"must be above 0, got {text}")
        return value

    parse.__name__ = kind.__name__
    return parse


def seed(text: str) -> int:
    """An argument's type: a whole number of at least 0."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be at least 0, got {text}")
    return value


def options(argv: list[str] | None) -> argparse.Namespace:
    """The command line, checked before any work is done."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=("lenet", "mlp"), default="lenet")
    parser.add_argument("--epochs", type=positive(int), help="default: 2, on the digits 30")
    parser.add_argument("--batch-size", type=positive(int), default=64)
    parser.add_argument(
        "--lr", type=positive(float), help="first learning rate; it falls as a cosine"
    )
    parser.add_argument("--device", default="cpu", help='where to compute, default "cpu"')
    parser.add_argument(
        "--data", default="auto", metavar="auto|mnist|digits|FOLDER",
        help="what to train on; a folder holds MNIST's four files",
    )  # fmt: skip
    parser.add_argument("--seed", type=seed, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder for the weights")
    parser.add_argument(
        "--plot", action="store_true", help="draw loss and accuracy into that folder"
    )
    args = parser.parse_args(argv)
    try:
        as_device(args.device)
    except (LazyArrayError, ValueError):
        known = ", ".join(repr(str(device)) for device in la.devices())
        parser.error(f"argument --device: there is no {args.device!r} here (choose from {known})")
    if args.data not in ("auto", "mnist", "digits") and not Path(args.data).is_dir():
        parser.error(f"argument --data: {args.data!r} is not auto, mnist, digits or a folder")
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=args.out):
            pass
    except OSError as error:
        parser.error(f"argument --out: cannot write to {args.out}: {error.strerror}")
    if args.plot:
        try:
            import matplotlib  # noqa: F401
        except ImportError:
            parser.error("argument --plot: needs matplotlib: pip install matplotlib")
    return args


def train(args: argparse.Namespace) -> None:
    """Train for all epochs, saving after each."""
    name, place, training, testing = load(args.data)
    epochs = args.epochs or EPOCHS[name]
    la.random.seed(args.seed)
    net = build(args.model)
    net.initialize(seed=args.seed)
    loader = DataLoader(training, args.batch_size, shuffle=True, seed=args.seed)
    rate = la.optim.CosineScheduler(epochs * len(loader), base_lr=args.lr or RATES[args.model])
    net(la.zeros((1, 28, 28, 1), "float32"))  # states the parameters' shapes
    optimizer = la.optim.SGD(net.parameters(), momentum=0.9, weight_decay=1e-4, lr_scheduler=rate)
    target = args.out / f"{name}-{args.model}.safetensors"
    sizes = f"{len(training)} images to learn, {len(testing)} to test"
    print(f"{args.model} on {name} ({place}): {sizes}", flush=True)
    losses: list[tuple[int, float]] = []
    accuracies: list[float] = []
    begin = time.perf_counter()
    try:
        for epoch in range(1, epochs + 1):
            losses += train_epoch(net, optimizer, loader, f"epoch {epoch}/{epochs}")
            accuracies.append(accuracy(net, testing))
            print(f"test accuracy {accuracies[-1]:.4f}", flush=True)
            net.save(target)
    except KeyboardInterrupt:
        kept = f"{target} holds epoch {len(accuracies)}" if accuracies else "no epoch was finished"
        print(f"\nstopped: {kept}", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None
    print(f"{time.perf_counter() - begin:.1f} s; the weights are in {target}")
    if args.plot:
        plot(target.with_suffix(".png"), losses, accuracies)


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    try:
        train(options(argv))
    except LazyArrayError as error:
        raise SystemExit(str(error)) from None
    except KeyboardInterrupt:  # before the first epoch, or while drawing
        print("\nstopped", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None


if __name__ == "__main__":
    main()
