"""How often the speaker is found among two talking heads side by side, with the sound of one of them.

    python benchmarks/speaking_face.py DATA/clips/grid [--file FILE] [--seconds 3]

Every ordered pair of different recordings is joined into one picture and tracked. Both people speak, so
only the fit of mouth and sound tells them apart. With ``--listener`` the other one keeps silent: the
quietest half second of their mouth, to and fro.
"""

import argparse
import itertools
from pathlib import Path

import av
import cv2
import numpy as np

from emofuse.features.faces import make_detector, speaking_face, track_faces
from emofuse.media.audio import SAMPLE_RATE, read_audio
from emofuse.media.video import Frame


def pictures(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Times (n,) and pictures (n, height, width, 3) of a recording."""
    with av.open(str(file)) as container:
        decoded = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    times = np.array([time for time, _ in decoded], dtype=float)
    return times - times[0], np.stack([image for _, image in decoded])


def envelope(waveform: np.ndarray, hop: int = SAMPLE_RATE // 100) -> tuple[np.ndarray, np.ndarray]:
    """Times and root mean squares of windows of 20 ms, 100 a second."""
    n = len(waveform) // hop - 1
    windows = np.stack([waveform[i * hop : (i + 2) * hop] for i in range(n)])
    return (np.arange(n) + 1) * hop / SAMPLE_RATE, np.sqrt((windows**2).mean(axis=1))


def main() -> None:
    """Print one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--file", type=Path, help="a detector's file; the Haar cascade without")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of the part that is used, from the middle")
    parser.add_argument("--step", type=int, default=1, help="each so many-th frame is used")
    parser.add_argument("--listener", action="store_true")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    detector = make_detector(options.file)
    recordings = []
    for file in sorted(options.folder.iterdir()):
        times, images = pictures(file)
        inside = np.abs(times - times[-1] / 2) <= options.seconds / 2
        quiet = images
        if options.listener:
            motion = track_faces(map(Frame, times, images), detector)[0].motion
            start = min(range(len(images) - 12), key=lambda i: motion[i + 1 : i + 12].sum())
            quiet = images[start + np.abs(np.arange(len(images)) % 22 - 11)]
        used = np.flatnonzero(inside)[:: options.step]
        recordings.append((times[used], images[used], quiet[used], envelope(read_audio(file))))
    right, total, two = 0, 0, 0
    for (times, speaker, _, voice), (_, _, other, _) in itertools.permutations(recordings, 2):
        n = min(len(speaker), len(other))
        # The speaker is on the left in every second scene.
        on_left = total % 2 == 0
        halves = (speaker[:n], other[:n]) if on_left else (other[:n], speaker[:n])
        scene = np.concatenate(halves, axis=2)
        tracks = track_faces(map(Frame, times, scene), detector)
        chosen = speaking_face(tracks, voice)
        centre = chosen.boxes[:, 0].mean() + chosen.boxes[:, 2].mean() / 2 if chosen else np.nan
        right += bool((centre < scene.shape[2] / 2) == on_left)
        two += len(tracks) == 2
        total += 1
    print(
        f"{total} pairs of {options.seconds:g} s: speaker found in {right / total:.3f}, two tracks in {two / total:.3f}"
    )


if __name__ == "__main__":
    main()
