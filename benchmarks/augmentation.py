"""Milliseconds that each effect of `emofuse.features.augment` takes for a clip, on one thread.

    python benchmarks/augmentation.py [--seconds 3]

The last rows are a whole draw (the mean over 200 clips) and, to compare with, the spectra that follow.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np

from emofuse.features import augment as a
from emofuse.features.acoustic import log_mel_spectrogram, log_power_spectrogram
from emofuse.media.audio import SAMPLE_RATE


def effects(x: np.ndarray, rng: np.random.Generator) -> dict[str, Callable[[], np.ndarray]]:
    """Name to a function that applies the effect once."""
    others = [np.roll(x, k) for k in (1000, 9000, 20000)]
    return {
        "speed": lambda: a.change_speed(x, rng.uniform(0.9, 1.1)),
        "pitch": lambda: a.shift_pitch(x, rng.uniform(-2, 2)),
        "room": lambda: a.reverberate(x, a.room_response(rng.uniform(0.15, 0.8), 3, rng)),
        "white or pink noise": lambda: a.add_noise(x, a.draw_noise(len(x), rng), 10),
        "babble": lambda: a.add_noise(x, a.babble(len(x), rng, others), 10),
        "microphone": lambda: a.colour(x, 6, rng),
        "gain": lambda: a.set_peak(x, rng.uniform(-24, 8)),
        "telephone": lambda: a.telephone(x),
        "mu-law": lambda: a.quantise_mu_law(x, 6),
        "bits": lambda: a.quantise(x, 8),
        "low bit rate": lambda: a.keep_strongest(x, 0.2),
        "a whole draw": lambda: a.augment(x, rng, others),
        "257-bin spectrogram": lambda: log_power_spectrogram(x),
        "64-band log-mel": lambda: log_mel_spectrogram(x, 64),
    }


def main() -> None:
    """Print a row an effect."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0)
    seconds = parser.parse_args().seconds
    rng = np.random.default_rng(0)
    x = 0.1 * rng.standard_normal(round(seconds * SAMPLE_RATE)).astype(np.float32)
    for name, effect in effects(x, rng).items():
        n_times = 200 if name == "a whole draw" else 40
        effect()
        start = time.process_time()
        for _ in range(n_times):
            effect()
        print(f"{name:20} {(time.process_time() - start) / n_times * 1000:6.2f} ms")


if __name__ == "__main__":
    main()
