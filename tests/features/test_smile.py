import json
import multiprocessing
import pickle
import sys
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

from emofuse.errors import ConfigError, DataError
from emofuse.features import smile
from emofuse.features.smile import MIN_SAMPLES, compare_2016, egemaps, is13

FACTORIES = [(is13, 6_373, 65), (compare_2016, 6_373, 65), (egemaps, 88, 25)]


def tone(seconds: float = 1.0) -> np.ndarray:
    """200 Hz with ten harmonics: a voice to the pitch tracker."""
    t = np.arange(round(16_000 * seconds)) / 16_000
    return sum(0.2 / k * np.sin(2 * np.pi * 200 * k * t) for k in range(1, 11)).astype(np.float32)


@pytest.fixture(autouse=True)
def _needs_opensmile():
    pytest.importorskip("opensmile")


@pytest.mark.parametrize(("factory", "n_functionals", "n_descriptors"), FACTORIES)
def test_names_rates_and_shapes(factory, n_functionals, n_descriptors):
    functionals, descriptors = factory(), factory(level="lld")
    assert functionals.rate_hz is None
    assert descriptors.rate_hz == 100
    for extractor, n in [(functionals, n_functionals), (descriptors, n_descriptors)]:
        assert len(set(extractor.dimensions)) == n
        assert extractor.unit
        assert "commercial" in extractor.licence
        json.dumps(dict(extractor.settings))
        assert pickle.loads(pickle.dumps(extractor)).settings == extractor.settings
    assert functionals(tone()).shape == (n_functionals,)
    assert descriptors(tone()).shape == (96, n_descriptors)
    np.testing.assert_array_equal(functionals(tone()), functionals(tone()))


@pytest.mark.parametrize("level", ["functionals", "lld"])
@pytest.mark.parametrize(("factory", "_f", "_d"), FACTORIES)
def test_the_shortest_input_is_the_shortest_that_opensmile_takes(factory, _f, _d, level):
    extractor = factory(level)
    signal = np.random.default_rng(0).normal(0, 0.1, MIN_SAMPLES).astype(np.float32)
    extractor(signal)  # finite, or Extractor would refuse
    with pytest.raises(DataError, match=r"^waveform of shape \(959,\), need \(n_samples,\) with n_samples >= 960$"):
        extractor(signal[:-1])
    # The bound is openSMILE's own: one sample less and all that it gives is NaN.
    feature_set = extractor.settings["feature_set"]
    with pytest.warns(UserWarning, match="Segment too short"):
        rows = smile._smile(feature_set, level).process_signal(signal[:-1], 16_000)
    assert rows.isna().to_numpy().all()


@pytest.mark.parametrize("level", ["functionals", "lld"])
@pytest.mark.parametrize(("factory", "_f", "_d"), FACTORIES)
def test_silence_and_extremes_are_finite(factory, _f, _d, level):
    extractor = factory(level)
    for signal in (np.zeros(1_600), np.ones(1_600), np.tile([1.0, -1.0], 800), np.full(1_600, 1e-6)):
        extractor(signal.astype(np.float32))


def test_pitch_and_loudness_of_a_known_tone():
    """Semitones above 27.5 Hz, root mean square, pitch in Hz: worked out without openSMILE."""
    functionals = dict(zip(egemaps().dimensions, egemaps()(tone()), strict=True))
    semitones = 12 * np.log2(200 / 27.5)
    assert functionals["F0semitoneFrom27.5Hz_sma3nz_amean"] == pytest.approx(semitones, abs=0.1)
    descriptors = compare_2016("lld")
    middle = dict(zip(descriptors.dimensions, descriptors(tone())[48], strict=True))
    assert middle["pcm_RMSenergy_sma"] == pytest.approx(np.sqrt(np.mean(tone() ** 2)), rel=1e-3)
    assert middle["F0final_sma"] == pytest.approx(200, rel=0.01)


def test_is13_and_compare_2016_share_names_but_not_values():
    assert is13().dimensions == compare_2016().dimensions
    assert (~np.isclose(is13()(tone()), compare_2016()(tone()))).sum() > 100
    assert is13().settings != compare_2016().settings


def test_full_scale_does_not_wrap_to_the_other_sign():
    click = np.zeros(16_000, np.float32)
    click[8_000] = 1.0
    largest = np.minimum(click, np.float32(32_767 / 32_768))  # the largest that int16 holds
    np.testing.assert_array_equal(is13("lld")(click), is13("lld")(largest))
    slope = np.linspace(0, 1, 16_000, dtype=np.float32)  # its end would be a jump by -2
    zcr = is13("lld").dimensions.index("pcm_zcr_sma")
    assert is13("lld")(slope)[:, zcr].max() < 0.001
    np.testing.assert_array_equal(is13("lld")(3 * click), is13("lld")(click))


def test_in_a_worker_process():
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        values = pool.submit(egemaps(), tone()).result(timeout=60)
    np.testing.assert_array_equal(values, egemaps()(tone()))


def test_refusals(monkeypatch):
    with pytest.raises(ConfigError, match=r"^is13: no level 'func', one of functionals, lld$"):
        is13("func")  # pyright: ignore[reportArgumentType]
    with pytest.raises(DataError, match=r"^waveform with NaN or infinite samples$"):
        is13()(np.full(16_000, np.nan))
    smile._smile.cache_clear()
    monkeypatch.setitem(sys.modules, "opensmile", None)
    with pytest.raises(ConfigError, match=r'^opensmile is not installed: pip install "emofuse\[opensmile\]"$'):
        egemaps()
