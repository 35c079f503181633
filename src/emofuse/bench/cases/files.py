"""Files in: decoding, extraction, and prediction from a compressed recording to its timeline."""

from collections import deque
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import soxr

from emofuse.bench.setup import Setup
from emofuse.bench.sound import speech_like, write_recording
from emofuse.bench.timing import Contender, optional
from emofuse.corpora.utterance import Utterance
from emofuse.extraction import extract as extract_features
from emofuse.extractors import make_extractor
from emofuse.features.extractor import Extractor
from emofuse.features.store import FeatureStore
from emofuse.media.audio import SAMPLE_RATE, AudioSpool, read_audio
from emofuse.media.decoding import decode as decode_pieces
from emofuse.media.voice import find_speech, speech_probabilities
from emofuse.predictor import Predictor, load
from emofuse.recording import Sources, open_recording
from emofuse.recording import Utterance as Heard
from emofuse.threads import one_blas_thread


def decode(setup: Setup) -> dict[str, Any]:
    """A compressed recording to 16 kHz mono."""
    seconds = setup.sizes.recording_s
    path = _recording(setup, seconds)
    plain = setup.references.use("plain_audio", lambda module: lambda: module.read_16k(path))
    reference = optional("soundfile + scipy", plain, seconds)
    entry = setup.measure("x real time", Contender("emofuse", lambda: read_audio(path), seconds), reference)
    return entry | {"stages_ms": setup.stages_ms(_reading_stages(path))}


def predict_file(setup: Setup) -> dict[str, Any]:
    """A compressed recording to its timeline, by the model that ships: all that a user waits for once it is loaded."""
    sizes = setup.sizes
    path, short = _recording(setup, sizes.recording_s), _recording(setup, sizes.slow_s)
    predictor = load()
    n_found = len(predictor.predict(path))

    def encoder(module: ModuleType) -> Callable[[], object]:
        model = module.make(len(predictor.classes))
        return lambda: module.predict_file(model, short)

    def classical(module: ModuleType) -> Callable[[], object]:
        smile, classifier = module.make(len(predictor.classes))
        return lambda: module.predict_file(smile, classifier, short)

    use = setup.references.use
    reference = optional("wav2vec2-base on windows of 10 s", use("wav2vec2_base", encoder), sizes.slow_s)
    beside = optional("openSMILE + SVM on windows of 10 s", use("opensmile_svm", classical), sizes.slow_s)
    ours = Contender("emofuse", lambda: predictor.predict(path), sizes.recording_s)
    entry = setup.measure("x real time", ours, reference, [beside])
    return entry | {"utterances": n_found, "stages_ms": _prediction_stages(setup, load(n_threads=1), path)}


def _prediction_stages(setup: Setup, predictor: Predictor, path: Path) -> dict[str, float]:
    """Milliseconds of each stage by itself; `model` is what judging takes beyond the features that it rests on.

    The predictor has one thread, that the two can be compared.
    """
    with open_recording(path, Sources(), None, predictor.modalities) as recording, AudioSpool(path) as spool:
        heard = list(recording.utterances())
        found = setup.stages_ms(
            {
                **_reading_stages(path),
                "voice activity": lambda: find_speech(speech_probabilities(spool.blocks()), spool.duration_s),
                "features": lambda: _features(predictor, heard),
                "judge": lambda: predictor.judge(recording.utterances(), recording.source),
            }
        )
    judged = found.pop("judge")
    return {**found, "model": max(0.0, judged - found["features"])}


def _features(predictor: Predictor, heard: list[Heard]) -> None:
    for part in predictor.parts:
        feature = part.features.get("speech")
        if feature is not None and feature.extractor is not None:
            with one_blas_thread():  # as the predictor does
                for u in heard:
                    feature.extractor(u.waveform)


def extract(setup: Setup) -> dict[str, Any]:
    """`emofuse extract voice` on clips into a new store, in one process; other features beside it."""
    sizes = setup.sizes
    clips = [speech_like(sizes.clip_s, seed) for seed in range(sizes.n_files)]
    paths = [write_recording(setup.folder / f"{i}.wav", c, 16_000, 1) for i, c in enumerate(clips)]
    seconds = sizes.n_files * sizes.clip_s
    stores = (setup.folder / f"store-{i}" for i in count())

    def ours(name: str) -> Contender:
        extractor = make_extractor(name)
        return Contender(f"emofuse, {name}", lambda: _into_store(extractor, paths, next(stores)), seconds)

    def smile(module: ModuleType) -> Callable[[], object]:
        opensmile, _ = module.make()
        return lambda: np.stack([module.extract(opensmile, module.read_16k(p)) for p in paths])

    def encoder(module: ModuleType) -> Callable[[], object]:
        model = module.make()
        return lambda: [module.logits(model, module.read_16k(p)[None]) for p in paths[: sizes.n_slow]]

    use = setup.references.use
    reference = optional("openSMILE, IS13", use("opensmile_svm", smile), seconds)
    slow = optional("wav2vec2-base", use("wav2vec2_base", encoder), min(sizes.n_slow, sizes.n_files) * sizes.clip_s)
    entry = setup.measure("x real time", ours("voice"), reference, [ours("log-mel"), ours("whisper-lower"), slow])
    voice = make_extractor("voice")
    found = setup.stages_ms(
        {
            "read": lambda: [read_audio(p) for p in paths],
            "compute": lambda: [voice(c) for c in clips],
            "all": ours("voice").run,
        }
    )
    store = max(0.0, found["all"] - found["read"] - found["compute"])
    return entry | {"stages_ms": {"read": found["read"], "compute": found["compute"], "store": store}}


def _into_store(extractor: Extractor, paths: list[Path], folder: Path) -> None:
    utterances = [Utterance(path.stem, "bench", audio=path) for path in paths]
    with FeatureStore(folder) as store:
        report = extract_features(utterances, lambda: extractor, store)
    assert report.n_done == len(paths), report


def _recording(setup: Setup, seconds: float) -> Path:
    path = setup.folder / f"{seconds:g}.flac"
    return path if path.exists() else write_recording(path, speech_like(seconds))


def _reading_stages(path: Path) -> dict[str, Callable[[], object]]:
    """Decoding to memory and resampling from there, as `emofuse.media.audio` does both."""
    pieces = list(decode_pieces(path, 0.0, None, []))
    rate = pieces[0][1]

    def resample() -> None:
        stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
        for samples, _ in pieces:
            stream.resample_chunk(samples)

    return {"decode": lambda: deque(decode_pieces(path, 0.0, None, []), maxlen=0), "resample": resample}
