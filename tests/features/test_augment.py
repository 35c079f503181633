from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from emofuse.features import augment as a

RATE = 16_000
EFFECTS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "speed": lambda x, rng: a.change_speed(x, 1.1),
    "pitch": lambda x, rng: a.shift_pitch(x, -2),
    "room": lambda x, rng: a.reverberate(x, a.room_response(0.4, 3, rng)),
    "noise": lambda x, rng: a.add_noise(x, a.draw_noise(len(x), rng), 10),
    "babble": lambda x, rng: a.add_noise(x, a.babble(len(x), rng, [x, x[::2]]), 10),
    "microphone": lambda x, rng: a.colour(x, 6, rng),
    "gain": lambda x, rng: a.set_peak(x, 3),
    "telephone": lambda x, rng: a.telephone(x),
    "mu-law": lambda x, rng: a.quantise_mu_law(x, 6),
    "bits": lambda x, rng: a.quantise(x, 8),
    "low bit rate": lambda x, rng: a.keep_strongest(x, 0.2),
    "all": lambda x, rng: a.augment(x, rng, [x]),
}


def tone(hz: float, seconds: float = 2.0) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def noise(n_samples: int = 24_000, seed: int = 0) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal(n_samples, dtype=np.float32)


def power(x: np.ndarray) -> float:
    return float(np.mean(x.astype(np.float64) ** 2))


def frequency(x: np.ndarray) -> float:
    """Of the highest peak of the inner part, to a twentieth of a hertz."""
    inner = x[2000:-2000] * np.hanning(len(x) - 4000)
    return float(np.argmax(np.abs(np.fft.rfft(inner, 20 * RATE)))) / 20


@pytest.mark.parametrize("name", EFFECTS)
@pytest.mark.parametrize("n_samples", [1600, 1601, 24_000])
def test_gives_finite_samples_of_the_same_length_and_type(name: str, n_samples: int) -> None:
    for x in (noise(n_samples), np.zeros(n_samples, np.float32)):
        before = x.copy()
        y = EFFECTS[name](x, np.random.default_rng(1))
        assert y.dtype == np.float32
        assert np.isfinite(y).all()
        if name not in ("speed", "all"):
            assert y.shape == x.shape
        assert len(y) >= 1600
        np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("name", EFFECTS)
def test_the_generator_decides_alone(name: str) -> None:
    once, again = (EFFECTS[name](noise(), np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(once, again)


@pytest.mark.parametrize("name", ["room", "noise", "babble", "microphone", "all"])
def test_another_generator_decides_otherwise(name: str) -> None:
    once, other = (EFFECTS[name](noise(), np.random.default_rng(seed)) for seed in (3, 4))
    assert once.shape != other.shape or np.abs(once - other).max() > 1e-3


@pytest.mark.parametrize("semitones", [-12, -2, -0.5, 1, 2, 12])
def test_pitch_moves_by_the_ratio_and_the_duration_stays(semitones: float) -> None:
    moved = a.shift_pitch(tone(440), semitones)
    assert len(moved) == 2 * RATE
    assert frequency(moved) == pytest.approx(440 * 2 ** (semitones / 12), rel=2e-3)
    assert power(moved) == pytest.approx(power(tone(440)), rel=0.02)  # periods join: nothing cancels


def test_no_shift_of_pitch_changes_nothing() -> None:
    np.testing.assert_allclose(a.shift_pitch(noise(), 0.0), noise(), atol=1e-5)


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_speed_moves_pitch_and_duration(factor: float) -> None:
    faster = a.change_speed(tone(440), factor)
    assert len(faster) == round(2 * RATE / factor)
    assert frequency(faster) == pytest.approx(440 * factor, rel=1e-3)


def test_speed_leaves_what_a_model_needs_of_a_short_clip() -> None:
    assert len(a.change_speed(noise(1700), 1.1)) == 1600
    assert len(a.change_speed(noise(1600), 1.1)) == 1600


@pytest.mark.parametrize("snr_db", [0, 10, 30])
@pytest.mark.parametrize("seed", range(6))
def test_noise_is_as_loud_as_asked(snr_db: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = tone(300)
    added = a.add_noise(x, a.draw_noise(len(x), rng, [noise(5000)]), snr_db) - x
    assert 10 * np.log10(power(x) / power(added)) == pytest.approx(snr_db, abs=0.1)


def test_white_noise_is_level_and_pink_falls_by_three_db_an_octave() -> None:
    slopes = set()
    for seed in range(6):
        spectrum = np.abs(np.fft.rfft(a.draw_noise(2**16, np.random.default_rng(seed)))) ** 2
        hz = np.fft.rfftfreq(2**16, 1 / RATE)
        octaves = [10 * np.log10(spectrum[(lo <= hz) & (hz < 2 * lo)].mean()) for lo in (250, 500, 1000, 2000)]
        slope = float(np.polyfit(range(4), octaves, 1)[0])
        assert slope == pytest.approx(round(slope / 3) * 3, abs=0.3)
        slopes.add(round(slope / 3) * 3)
    assert slopes == {0, -3}


def test_babble_is_made_of_the_other_clips_at_equal_level() -> None:
    quiet, loud = 0.001 * tone(500, 0.3), tone(2000, 0.5)
    made = a.babble(RATE, np.random.default_rng(0), [quiet, loud])
    spectrum = np.abs(np.fft.rfft(made)) ** 2
    near = [spectrum[f - 20 : f + 20].sum() for f in (500, 2000)]
    assert sum(near) > 0.9 * spectrum.sum()
    assert 0.05 < near[0] / near[1] < 20


def test_without_other_clips_there_is_no_babble() -> None:
    for seed in range(20):
        assert power(a.draw_noise(1600, np.random.default_rng(seed))) > 0


@pytest.mark.parametrize(("rt60_s", "direct_db"), [(0.2, 10.0), (0.8, -3.0)])
def test_a_room_decays_as_asked(rt60_s: float, direct_db: float) -> None:
    h = a.room_response(rt60_s, direct_db, np.random.default_rng(0)).astype(np.float64)
    assert h[0] == 1
    assert 10 * np.log10(1 / np.sum(h[1:] ** 2)) == pytest.approx(direct_db, abs=0.01)
    tenths = [10 * np.log10(power(part)) for part in np.array_split(h[1:], 10)]
    assert np.polyfit(np.arange(10) / 10 * rt60_s, tenths, 1)[0] == pytest.approx(-60 / rt60_s, rel=0.05)


def test_the_direct_sound_of_a_room_comes_at_once() -> None:
    x = np.zeros(4000, np.float32)
    x[100] = 1
    h = a.room_response(0.1, 5, np.random.default_rng(0))
    y = a.reverberate(x, h)
    np.testing.assert_allclose(y[:100], 0, atol=1e-6)
    np.testing.assert_allclose(y[100:1700], h, atol=1e-6)


def test_a_telephone_passes_speech_and_nothing_else() -> None:
    def gain_db(hz: float) -> float:
        return 10 * np.log10(power(a.telephone(tone(hz))[4000:-4000]) / power(tone(hz)))

    assert gain_db(100) < -20
    assert gain_db(5000) < -20
    assert gain_db(1000) == pytest.approx(0, abs=0.2)
    assert gain_db(2500) == pytest.approx(0, abs=0.5)


def test_gain_clips_above_full_scale_only() -> None:
    x = tone(440)
    np.testing.assert_allclose(np.abs(a.set_peak(x, -6.0206)).max(), 0.5, rtol=1e-4)
    np.testing.assert_allclose(a.set_peak(x, -6.0206) / x.max(), x * 0.5 / x.max() ** 2, rtol=1e-3, atol=1e-5)
    clipped = a.set_peak(x, 6.0206)
    assert (np.abs(clipped) == 1).mean() == pytest.approx(2 / 3, abs=0.01)  # |sin| > 1/2


def test_quantisation_by_hand() -> None:
    x = np.array([-0.7, -0.2, 0.1, 0.3, 0.7], np.float32)
    np.testing.assert_allclose(a.quantise(x, 3), np.array([-3, -1, 0, 1, 3]) * 0.7 / 3, atol=1e-6)
    # G.711's curve: half of full scale lies at ln(1 + 255 / 2) / ln 256 = 0.876; 7 steps a side round it to 6/7
    expected = (256 ** (6 / 7) - 1) / 255
    np.testing.assert_allclose(a.quantise_mu_law(np.array([0.5, 1.0], np.float32), 4), [expected, 1], rtol=1e-4)


def test_mu_law_is_finer_where_it_is_quiet() -> None:
    quiet = 0.01 * tone(440)
    x = np.concatenate([quiet, tone(440)])
    errors = [power((codec(x, 8) - x)[: len(quiet)]) for codec in (a.quantise_mu_law, a.quantise)]
    assert errors[0] < errors[1] / 10


def test_all_bins_kept_is_the_clip_and_few_are_its_strongest_part() -> None:
    x = noise()
    np.testing.assert_allclose(a.keep_strongest(x, 1.0), x, atol=1e-6)
    assert 0.02 < power(a.keep_strongest(x, 0.05)) / power(x) < 0.5
    both = tone(440) + 0.1 * noise(2 * RATE)
    assert frequency(a.keep_strongest(both, 0.05)) == pytest.approx(440, abs=1)


def test_a_microphone_keeps_within_its_response() -> None:
    x = noise(2**15)
    before, after = (np.abs(np.fft.rfft(y)) for y in (x, a.colour(x, 6, np.random.default_rng(0))))
    change = 20 * np.log10(after / before)
    assert np.abs(change).max() < 6.1
    assert change.std() > 1


def test_shares_of_zero_change_nothing_and_of_one_everything() -> None:
    def with_shares(value: float) -> a.AugmentConfig:
        return replace(a.DEFAULT, **{f: value for f in a.DEFAULT.__dataclass_fields__ if f.endswith("_share")})

    x = noise()
    np.testing.assert_array_equal(a.augment(x, np.random.default_rng(0), [x], with_shares(0)), x)
    some = [np.array_equal(a.augment(x, np.random.default_rng(s), [x]), x) for s in range(100)]
    assert 0 < sum(some) < 30
    assert not any(np.array_equal(a.augment(x, np.random.default_rng(s), [], with_shares(1)), x) for s in range(10))
