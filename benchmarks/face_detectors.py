"""How often the face detectors are right, their processor time, and where FER2013's square lies in their boxes.

    python benchmarks/face_detectors.py squares --faces DATA/ferplus --file face_detection_short_range.tflite
    python benchmarks/face_detectors.py clips DATA/clips/grid [--file FILE]
    python benchmarks/face_detectors.py scenes --faces DATA/ferplus [--file FILE]

`clips`: recordings that show exactly one face throughout, alone and two side by side. `scenes`: three
faces of FER+ of known sizes in a photograph without faces. `squares`: raw boxes on faces of FER+ with a margin.
"""

import argparse
import itertools
import time
from collections import defaultdict
from pathlib import Path

import av
import cv2
import numpy as np
from sklearn.datasets import load_sample_images

from emofuse.features.faces import Box, Detector, make_detector
from emofuse.media.image import read_face

SIZES = (32, 48, 64, 96, 144)


def every_frame(file: Path, step: int) -> list[np.ndarray]:
    """Each `step`-th picture of a recording."""
    with av.open(str(file)) as container:
        return [f.to_ndarray(format="rgb24") for f in itertools.islice(container.decode(video=0), 0, None, step)]


def faces(folder: Path, n: int) -> list[np.ndarray]:
    """`n` faces (48, 48), spread over the sheets."""
    sheets = sorted(folder.glob("sheet-*.png"))[:-1]
    per_sheet = -(-n // len(sheets))
    return [read_face(sheet, tile) for sheet in sheets for tile in range(0, per_sheet * 7, 7)][:n]


def overlap(a: Box, b: Box) -> float:
    """Intersection over union."""
    width = max(0.0, min(a.x + a.width, b.x + b.width) - max(a.x, b.x))
    height = max(0.0, min(a.y + a.height, b.y + b.height) - max(a.y, b.y))
    return width * height / (a.width * a.height + b.width * b.height - width * height)


def clips(detector: Detector, folder: Path) -> None:
    """Counts of faces per frame where one, or two, is right."""
    recordings = [every_frame(file, 8) for file in sorted(folder.iterdir())]
    single = [image for recording in recordings for image in recording]
    pairs = [np.hstack([a[0], b[5]]) for a, b in itertools.permutations(recordings, 2)]
    for n, images in ((1, single), (2, pairs)):
        start = time.process_time()
        counts = np.array([len(detector(image)) for image in images])
        ms = (time.process_time() - start) / len(images) * 1000
        height, width = images[0].shape[:2]
        print(
            f"{len(images)} frames of {width} × {height} with {n} face(s): right {np.mean(counts == n):.3f}, "
            f"fewer {np.mean(counts < n):.3f}, more {np.mean(counts > n):.3f}; {ms:.1f} ms a frame"
        )


def scenes(detector: Detector, folder: Path, n: int = 600) -> None:
    """Recall by size, and boxes that are on no face."""
    rng = np.random.default_rng(0)
    photographs = [cv2.resize(image, (640, 427)) for image in load_sample_images().images]
    found: dict[int, list[bool]] = defaultdict(list)
    false, used, started = 0, 0, time.process_time()
    trio = faces(folder, n * 3)
    for i in range(n):
        scene = photographs[i % 2].copy()
        truth: list[Box] = []
        for third, face in enumerate(trio[3 * i : 3 * i + 3]):
            size = int(rng.choice(SIZES))
            x, y = 213 * third + int(rng.integers(0, 213 - size)), int(rng.integers(0, 427 - size))
            patch = cv2.resize(face, (size, size), interpolation=cv2.INTER_AREA if size < 48 else cv2.INTER_CUBIC)
            scene[y : y + size, x : x + size] = patch[..., None]
            truth.append(Box(x, y, size, size))
        boxes = detector(scene)
        for box in truth:
            found[int(box.width)].append(any(overlap(box, b) > 0.3 for b in boxes))
        false += sum(all(overlap(box, b) <= 0.3 for box in truth) for b in boxes)
        used += 1
    ms = (time.process_time() - started) / used * 1000
    recall = ", ".join(f"{size} px {np.mean(found[size]):.3f}" for size in SIZES)
    print(f"{used} scenes of 640 × 427: recall {recall}; false boxes a scene {false / used:.3f}; {ms:.1f} ms")


def squares(detector: Detector, folder: Path, n: int = 2000) -> None:
    """Where the true square lies in the squares that the detector gives: 0, 0 and 1 where they agree."""
    rows = []
    for face in faces(folder, n):
        large = cv2.resize(face, (144, 144), interpolation=cv2.INTER_CUBIC)
        grey = cv2.copyMakeBorder(large, 108, 108, 108, 108, cv2.BORDER_CONSTANT, value=float(face.mean()))
        boxes = detector(np.repeat(grey[..., None], 3, axis=2))
        if len(boxes) == 1:
            b = boxes[0]
            rows.append(((180 - b.x - b.width / 2) / b.width, (180 - b.y - b.height / 2) / b.width, 144 / b.width))
    low, middle, high = np.percentile(rows, (25, 50, 75), axis=0)
    print(f"{n} faces, exactly one box in {len(rows) / n:.3f}; quartiles of the true square relative to the box:")
    for name, values in zip(("centre x", "centre y", "side"), np.stack([low, middle, high], axis=1), strict=True):
        print(f"  {name:9s}" + "".join(f"{value:8.3f}" for value in values))


def main() -> None:
    """Run one of the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("clips", "scenes", "squares"))
    parser.add_argument("folder", type=Path, nargs="?", help="of recordings, for `clips`")
    parser.add_argument("--faces", type=Path, help="folder of FER+ with its contact sheets")
    parser.add_argument("--file", type=Path, help="a detector's file; the Haar cascade without")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    detector = make_detector(options.file)
    folder = options.folder if options.what == "clips" else options.faces
    if folder is None:
        parser.error(f"{options.what} needs " + ("a folder" if options.what == "clips" else "--faces"))
    {"clips": clips, "scenes": scenes, "squares": squares}[options.what](detector, folder)


if __name__ == "__main__":
    main()
