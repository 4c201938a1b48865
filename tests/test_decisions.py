"""Calibration, thresholds, promotion, and the verifier that carries them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from example_verifier import POLICY, small_verifier, trials
from hypothesis import given, settings
from hypothesis import strategies as st

from siamese.calibration import CalibrationError, calibrate, p_genuine, policy_thresholds
from siamese.config import PolicySettings
from siamese.evaluation import Evaluation, evaluate
from siamese.promotion import above_min, crossed, judge
from siamese.trials import Trials
from siamese.verifier import Verifier, VerifierError


def test_a_writer_with_many_pairs_weighs_no_more_than_another() -> None:
    found = trials(1)
    often = np.flatnonzero(found.writer == found.writer[0])
    fitted = calibrate(found, POLICY)
    again = calibrate(
        found.take(np.concatenate([np.arange(len(found.kind)), often, often])), POLICY
    )
    assert (again.slope, again.intercept) == pytest.approx(
        (fitted.slope, fitted.intercept), rel=1e-3
    )
    assert again.threshold == pytest.approx(fitted.threshold, rel=1e-6)
    assert (again.accept_at, again.reject_at) == pytest.approx(
        (fitted.accept_at, fitted.reject_at), rel=0.01
    )


def test_nearer_means_likelier_and_bounded_by_what_was_seen() -> None:
    made = calibrate(trials(1), POLICY)
    ratio = made.log10_lr(np.linspace(0, 2, 50))
    assert (np.diff(ratio) <= 0).all()
    assert ratio[0] == made.highest == pytest.approx(np.log10(721))
    assert ratio[-1] == made.lowest == pytest.approx(-np.log10(361))


def test_calibration_holds_on_other_writers() -> None:
    made = calibrate(trials(1), POLICY)
    found = evaluate(trials(2), made, POLICY, seed=1)
    figures = found.figures
    assert figures["cllr"].value - figures["cllr_min"].value < 0.08
    assert abs(figures["far_skilled"].value - figures["eer_skilled"].value) < 0.06
    assert figures["policy_far_skilled"].value < 0.10
    assert figures["policy_frr"].value < 0.10
    assert found.pairs == {"genuine": 360, "skilled_forgery": 360, "random_forgery": 360}
    assert Evaluation.from_dict(json.loads(json.dumps(found.to_dict()))) == found


@given(st.integers(0, 50), st.floats(-0.2, 1.2), st.floats(0.01, 0.3), st.floats(0.01, 0.3))
@settings(max_examples=40, deadline=None)
def test_policy_is_kept_on_the_trials_it_was_fitted_on(
    seed: int, shift: float, far: float, frr: float
) -> None:
    found = trials(seed, shift, writers=4, each=15)
    policy = PolicySettings(max_far_skilled=far, max_frr=frr)
    accept_at, reject_at, _ = policy_thresholds(found, policy)
    skilled = found.of("skilled_forgery").distance
    genuine = found.of("genuine").distance
    assert accept_at <= reject_at
    assert (skilled <= accept_at).mean() <= far + 1e-9
    assert (genuine > reject_at).mean() <= frr + 1e-9


def test_pairs_of_one_questioned_signature_are_one_observation() -> None:
    """Thirty-fold, each against other references, they support no looser policy."""
    some = trials(3, writers=12, each=2)
    many = some.take(np.repeat(np.arange(len(some.kind)), 30))
    once, again = (policy_thresholds(one, POLICY) for one in (some, many))
    assert again[0] <= once[0] + 0.02
    assert again[1] >= once[1] - 0.02


def test_every_distance_gets_one_decision() -> None:
    made = calibrate(trials(1, shift=0.2), POLICY)
    decisions = made.decide(np.linspace(0, 2, 200)).tolist()
    assert decisions == sorted(decisions, key=["accept", "review", "reject"].index)
    assert set(decisions) == {"accept", "review", "reject"}


def test_what_cannot_be_calibrated_is_said() -> None:
    with pytest.raises(CalibrationError, match="learnt nothing"):
        calibrate(trials(1, shift=-0.4).of("genuine", "skilled_forgery"), POLICY)
    with pytest.raises(CalibrationError, match="needs genuine pairs and skilled"):
        calibrate(trials(1).of("genuine", "random_forgery"), POLICY)


@given(st.floats(-4, 4), st.floats(0.01, 0.99))
def test_prior_and_ratio_make_the_posterior(ratio: float, prior: float) -> None:
    found = float(p_genuine(np.array(ratio), prior))
    odds = found / (1 - found)
    assert odds == pytest.approx(10**ratio * prior / (1 - prior), rel=1e-6)


# --- promotion -------------------------------------------------------------------------------


QUICK = POLICY.model_copy(update={"bootstrap": 200})


def judged(old: Trials, new: Trials) -> tuple[bool, str]:
    verdict = judge(old, new, policy=QUICK, seed=1)
    return verdict.promote, verdict.why


def test_clearly_better_is_promoted() -> None:
    promote, why = judged(trials(1, 0.2), trials(1, 0.6))
    assert promote
    assert why.startswith("Promoted: EER_skilled differs by -")


def test_same_and_worse_are_not_promoted() -> None:
    same = judged(trials(1, 0.4), trials(1, 0.4))
    worse = judged(trials(1, 0.6), trials(1, 0.2))
    noise = judged(trials(1, 0.4), trials(2, 0.41))
    assert not any(promote for promote, _ in (same, worse, noise))
    assert all("not better by more than noise" in why for _, why in (same, worse, noise))


def test_better_but_uncalibrated_on_other_writers_is_not_promoted() -> None:
    new = trials(1, 0.6)
    # Every second writer signs at another scale: a threshold of one half is no good on the other.
    odd = np.isin(new.writer, np.unique(new.writer)[::2])
    new = replace(new, distance=np.where(odd, new.distance * 0.4, new.distance))
    good = trials(1, 0.6)
    assert above_min(good, crossed(good, QUICK)) < 0.1
    lenient = QUICK.model_copy(update={"max_far_skilled": 0.5})
    verdict = judge(trials(1, 0.1), new, policy=lenient, seed=1)
    assert not verdict.promote
    assert "calibration does not hold on other writers" in verdict.why


def test_better_but_with_thresholds_that_fail_on_other_writers_is_not_promoted() -> None:
    old = trials(1, 0.3)
    # Better told apart in each writer, but where a threshold must lie is another in each half.
    new = trials(1, 0.9)
    odd = np.isin(new.writer, np.unique(new.writer)[::2])
    new = replace(new, distance=np.where(odd, new.distance * 0.6, new.distance))
    verdict = judge(old, new, policy=QUICK, seed=1)
    assert not verdict.promote
    assert "FAR_skilled at the policy rises" in verdict.why


# --- the verifier on disk --------------------------------------------------------------------


@pytest.fixture
def verifier() -> Verifier:
    return small_verifier()


def test_verifier_round_trip(verifier: Verifier, tmp_path: Path) -> None:
    verifier.save(tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".parquet", ".safetensors"}
    again = Verifier.load(tmp_path)
    assert again.weights() == verifier.weights()
    assert again.calibrations == verifier.calibrations
    assert again.embedding_fingerprint == verifier.embedding_fingerprint


def test_tampered_weights_are_refused(verifier: Verifier, tmp_path: Path) -> None:
    verifier.save(tmp_path)
    path = tmp_path / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(VerifierError, match="not the file that was saved"):
        Verifier.load(tmp_path)
    facts = tmp_path / "verifier.json"
    facts.write_text(json.dumps(json.loads(facts.read_text()) | {"format": 99}))
    with pytest.raises(VerifierError, match="has format 99"):
        Verifier.load(tmp_path)
    facts.write_text('["no", "verifier"]')
    with pytest.raises(VerifierError, match="does not describe a verifier"):
        Verifier.load(tmp_path)
    verifier.save(tmp_path)
    for wrong in ('"calibrations": []', '"calibrations": [{"slope": null}]', '"provenance": 1'):
        name = wrong.split(":", maxsplit=1)[0]
        text = json.loads(facts.read_text())
        text |= json.loads(f"{{{wrong}}}")
        (tmp_path / "other").mkdir(exist_ok=True)
        for path in tmp_path.glob("*.*"):
            (tmp_path / "other" / path.name).write_bytes(path.read_bytes())
        (tmp_path / "other" / "verifier.json").write_text(json.dumps(text))
        with pytest.raises(VerifierError, match="is damaged"):
            Verifier.load(tmp_path / "other")
        assert name
    with pytest.raises(VerifierError, match="No readable verifier"):
        Verifier.load(tmp_path / "nowhere")


def test_bad_pictures_are_unusable_with_the_reason(verifier: Verifier) -> None:
    found = verifier.compare([b"junk"], b"junk")
    assert (found.decision, found.reason) == ("unusable", "questioned_unreadable")
