"""A site's own labelled claims: verdicts kept, and thresholds fitted on few of them."""

from __future__ import annotations

import io
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from example_verifier import POLICY, small_verifier, trials

from siamese import handwriting
from siamese.calibration import CalibrationError, calibrate
from siamese.claims import hash_claims
from siamese.config import PolicySettings, TierSettings
from siamese.enrolment import read_enrolment
from siamese.errors import InputError
from siamese.feedback import Verdict, keep, read_verdicts
from siamese.intake import read_claims
from siamese.manifests import ManifestError
from siamese.preparing import prepare_files
from siamese.recalibration import label_of, labelled_trials, recalibrate
from siamese.record import Record
from siamese.scoring import Stores, files_of, with_vectors
from siamese.sources import manifest as training_manifest
from siamese.tiers import Tiers
from siamese.trials import Trials
from siamese.verifier import Verifier, VerifierError


def few(found: Trials, each: int, seed: int) -> Trials:
    """Some genuine and as many skilled trials."""
    rng = np.random.default_rng(seed)
    rows = [
        rng.permutation(np.flatnonzero(found.kind == kind))[:each]
        for kind in ("genuine", "skilled_forgery")
    ]
    return found.take(np.concatenate(rows))


def test_few_labelled_claims_keep_the_policy_on_others() -> None:
    """On average over forty draws of twenty and twenty from a site whose distances are other."""
    home = calibrate(trials(1, shift=0.5), POLICY)
    site = trials(3, shift=0.2, writers=60)
    rates = []
    for draw in range(40):
        fitted = calibrate(few(site, 20, draw), POLICY)
        others = site.of("skilled_forgery").distance
        rates.append(((others <= home.accept_at).mean(), (others <= fitted.accept_at).mean()))
    before, after = np.mean(rates, axis=0)
    assert before > 3 * POLICY.max_far_skilled
    assert after <= POLICY.max_far_skilled
    assert np.mean([one <= POLICY.max_far_skilled for _, one in rates]) > 0.75


def test_recalibration_says_what_it_changes_and_where_from() -> None:
    home, site = trials(1, shift=0.5), few(trials(3, shift=0.25, writers=40), 25, 0)
    verifier = replace(small_verifier(), record=Record((home,)))
    made = recalibrate(verifier, [site], 0.0, pd.DataFrame(), POLICY, seed=1)
    assert made.verifier.network is verifier.network
    assert made.verifier.calibrations != verifier.calibrations
    assert made.before["policy_far_skilled"].value > made.after["policy_far_skilled"].value
    assert made.after["policy_far_skilled"].n == 25
    assert made.claims == 50
    alone = replace(site, writer=np.full(50, "one"))
    assert recalibrate(verifier, [alone], 0.0, pd.DataFrame(), POLICY, seed=1).after == {}
    hopeless = replace(site, n_references=2, distance=2 - site.distance)
    both = recalibrate(verifier, [site, hopeless], 0.0, pd.DataFrame(), POLICY, seed=1)
    assert [c.n_references for c in both.verifier.calibrations] == [1]


def test_each_labelled_claim_is_one_trial_and_the_rest_say_why(tmp_path: Path) -> None:
    root = tmp_path / "labelled"
    for number in range(24):
        folder = root / f"{number:02d}"
        picture(folder / "questioned.png", number)
        for reference in range(5):
            picture(folder / f"reference_{reference}.png", 1000 + 10 * (number // 2) + reference)
    (root / "05" / "questioned.png").write_text("no picture")
    shutil.copy(root / "08" / "reference_0.png", root / "08" / "questioned.png")
    labels = "".join(f"{n:02d},{'genuine' if n % 2 else 'forged'}\n" for n in range(23))
    (root / "claims.csv").write_text(f"claim_id,label\n{labels}")
    claims = read_claims(root)
    hashes = hash_claims(claims)
    verifier, store = small_verifier(), tmp_path / "store"
    enrolment = read_enrolment(tmp_path / "enrolled")
    stores = Stores.of(verifier, store)
    files = files_of(claims, hashes, enrolment.files)
    facts = prepare_files(files, verifier.imaging_settings, stores.canvases, workers=1)
    known = with_vectors(facts, verifier, stores)
    made, left_out = labelled_trials(claims, known, hashes, (1, 2, 3, 5))
    assert [(one.n_references, len(one.kind)) for one in made] == [(n, 21) for n in (1, 2, 3, 5)]
    assert len(set(made[0].writer)) == 12  # two claims of each share their references
    assert left_out["23"] == "It has no label."
    assert left_out["08"] == "Its questioned picture is a copy of a reference."
    assert left_out["05"].startswith("No usable pair. The file could not be decoded")


def test_too_few_or_unlabelled_claims_are_refused(tmp_path: Path) -> None:
    verifier = replace(small_verifier(), record=Record((trials(1),)))
    with pytest.raises(CalibrationError, match="at least 10 genuine and 10 forged"):
        recalibrate(verifier, [], 0.0, pd.DataFrame(), POLICY, seed=1)
    picture(tmp_path / "a" / "questioned.png", 1)
    picture(tmp_path / "a" / "reference.png", 2)
    (claim,) = read_claims(tmp_path)
    assert label_of(claim) == ""
    with pytest.raises(InputError, match="Claim 'a': the column label has 'fake'"):
        label_of(replace(claim, further={"label": "Fake"}))


def test_with_hardly_any_forgeries_nothing_is_accepted() -> None:
    made = calibrate(few(trials(1), 12, 0), PolicySettings(max_far_skilled=0.05))
    assert set(made.decide(np.linspace(0, 2, 50))) <= {"review", "reject"}


def test_a_policy_set_at_scoring_is_kept_on_the_record() -> None:
    found = trials(1, shift=0.3)
    verifier = replace(small_verifier(), record=Record((found,)))
    strict = verifier.under(PolicySettings(max_far_skilled=0.01, max_frr=0.02)).calibration(1)
    loose = verifier.under(PolicySettings(max_far_skilled=0.20, max_frr=0.20)).calibration(1)
    assert strict.accept_at < loose.accept_at
    assert strict.reject_at > loose.reject_at
    assert (found.of("skilled_forgery").distance <= strict.accept_at).mean() <= 0.01
    with pytest.raises(VerifierError, match="no record"):
        small_verifier().under(PolicySettings(max_far_skilled=0.01))


def test_tiers_go_by_the_amount_and_the_strictest_holds_where_there_is_none() -> None:
    policy = PolicySettings(
        amount_column="amount",
        tiers=(
            TierSettings(amount_from=1000, max_far_skilled=0.03, max_frr=0.05),
            TierSettings(amount_from=20000, max_far_skilled=0.01, max_frr=0.05),
        ),
    )
    verifier = replace(small_verifier(), record=Record((trials(1),)))
    tiers = Tiers.of(replace(verifier, policy=policy))

    def limit(amount: str) -> float:
        return tiers.choose({"amount": amount})[0].policy.max_far_skilled

    limits = [limit(amount) for amount in ("-5", "999.99", "1000", "19999", "1e6")]
    assert limits == [0.05, 0.05, 0.03, 0.03, 0.01]
    for unclear in ("", "12,000", "nan", "inf", "x"):
        chosen, told = tiers.choose({"amount": unclear})
        assert chosen.policy.max_far_skilled == 0.01
        assert "is not a number" in told
    with pytest.raises(ValueError, match="rising amount_from"):
        PolicySettings(amount_column="a", tiers=policy.tiers[::-1])
    with pytest.raises(ValueError, match="together or not at all"):
        PolicySettings(tiers=policy.tiers)


def test_a_record_is_saved_with_its_verifier(tmp_path: Path) -> None:
    pictures = pd.DataFrame(
        {"writer": ["a"], "width": 1.0, "height": 2.0, "ink_fraction": 0.1}
    ).assign(stroke_width=3.0, aspect=0.5)
    record = Record((trials(1), replace(trials(2), n_references=3)), (trials(3),), pictures)
    replace(small_verifier(), record=record).save(tmp_path)
    again = Verifier.load(tmp_path).record
    assert [one.n_references for one in again.calibration] == [1, 3]
    assert again.test[0].distance.tolist() == trials(3).distance.tolist()
    assert again.calibration[1].kind.tolist() == trials(2).kind.tolist()
    pd.testing.assert_frame_equal(again.pictures, pictures, check_dtype=False)


def test_a_record_that_does_not_say_who_wrote_the_questioned_signature() -> None:
    files = Record((trials(1),), (trials(3),)).to_files()
    table = pq.read_table(io.BytesIO(files["trials.parquet"])).drop_columns("questioned_writer")
    out = io.BytesIO()
    pq.write_table(table, out)
    (old,) = Record.from_files({**files, "trials.parquet": out.getvalue()}).test
    assert old.questioned_writer.tolist() == trials(3).writer.tolist()


# --- verdicts --------------------------------------------------------------------------------


def picture(path: Path, seed: int) -> Path:
    """An invented signature."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    drawn = handwriting.draw(handwriting.new_writer(rng), rng)
    drawn.resize((drawn.width // 2, drawn.height // 2)).save(path)
    return path


@pytest.fixture
def claims(tmp_path: Path) -> Path:
    root = tmp_path / "claims"
    for number, name in enumerate(("a", "b", "c", "=d")):
        picture(root / name / "questioned.png", number)
        picture(root / name / "reference_1.png", 100 + number // 2)
    return root


def kept(claims: Path, text: str, folder: Path) -> pd.DataFrame:
    path = claims.parent / "verdicts.csv"
    path.write_text(text)
    found = read_claims(claims)
    ids = hash_claims(found)
    settings = small_verifier().imaging_settings
    return keep(found, ids, read_verdicts(path), settings, folder)


def test_verdicts_become_labelled_claims_and_a_training_source(
    claims: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "feedback"
    text = 'claim_id,verdict,questioned_id\na,genuine,\nb,forged,\n"\'=d",forged,\nz,forged,\n'
    outcomes = kept(claims, text + f"c,genuine,{'0' * 64}\n", folder).set_index("claim_id")
    assert outcomes["outcome"].to_dict() == {
        "a": "kept", "b": "kept", "=d": "kept", "z": "unknown_claim", "c": "changed",
    }  # fmt: skip
    labelled = read_claims(folder)
    labels = {claim.claim_id.split()[1]: label_of(claim) for claim in labelled}
    assert labels == {"a": "genuine", "b": "forged", "=d": "forged"}
    assert all(not claim.problem for claim in labelled)
    signatures = training_manifest.read(folder / "signatures.csv").images
    by_writer = pd.DataFrame([vars(one) for one in signatures]).groupby("writer")
    assert sorted(by_writer.size()) == [2, 3]  # a and b have the same reference
    assert sorted(by_writer["kind"].agg(sorted).tolist()) == [
        ["genuine", "genuine", "skilled_forgery"],
        ["genuine", "skilled_forgery"],
    ]


def test_verdicts_that_nothing_is_kept_of_leave_no_training_source(
    claims: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "feedback"
    kept(claims, "claim_id,verdict\nz,genuine\n", folder)
    assert not list(folder.glob("*.csv"))
    found = read_claims(claims)
    settings = small_verifier().imaging_settings.model_copy(update={"max_bytes": 10})
    verdicts = {"a": Verdict("genuine", "")}
    outcomes = keep(found, hash_claims(found), verdicts, settings, folder)
    assert outcomes["outcome"].tolist() == ["unreadable"]
    assert "over 10 bytes" in outcomes["detail"][0]
    assert not list(folder.rglob("*.png"))


def test_a_writer_may_be_called_what_pandas_takes_for_nothing(claims: Path, tmp_path: Path) -> None:
    (claims / "claims.csv").write_text("claim_id,writer_id\na,NA\n=d,'@eva\n")
    kept(claims, 'claim_id,verdict\na,genuine\n"\'=d",genuine\n', tmp_path / "feedback")
    listed = training_manifest.read(tmp_path / "feedback" / "signatures.csv")
    assert {one.writer for one in listed.images} == {"NA", "@eva"}
    assert listed.unread == ()


def test_feedback_that_was_edited_by_hand(claims: Path, tmp_path: Path) -> None:
    folder = tmp_path / "feedback"
    (claims / "claims.csv").write_text("claim_id,writer_id\na,@eva\nb,\n")
    kept(claims, "claim_id,verdict\na,genuine\n", folder)
    path = folder / "claims.csv"
    assert "'@eva" in path.read_text()  # no formula for a spreadsheet
    assert read_claims(folder)[0].writer == "@eva"
    path.write_text(path.read_text().replace("genuine", "Genuine"))
    kept(claims, "claim_id,verdict\nb,forged\n", folder)
    assert sorted(label_of(claim) for claim in read_claims(folder)) == ["forged", "genuine"]
    before = path.read_text()
    path.write_text(before.replace("genuine", "perhaps"))
    with pytest.raises(ManifestError, match="genuine or forged in the column label"):
        kept(claims, "claim_id,verdict\nc,forged\n", folder)
    path.write_text(before.replace("writer_id", "who"))
    with pytest.raises(ManifestError, match="writer_id"):
        kept(claims, "claim_id,verdict\nc,forged\n", folder)


def test_a_later_verdict_replaces_an_earlier_one(claims: Path, tmp_path: Path) -> None:
    folder = tmp_path / "feedback"
    kept(claims, "claim_id,verdict\na,genuine\nb,genuine\n", folder)
    kept(claims, "claim_id,verdict\na,forged\n", folder)
    (claims / "b").rename(claims / "b;-1")
    for verdict in ("forged", "genuine"):
        kept(claims, f"claim_id,verdict\nb;'-1,{verdict}\n", folder)
    labels = {c.claim_id.split()[1]: label_of(c) for c in read_claims(folder)}
    assert labels == {"a": "forged", "b": "genuine", "b;'-1": "genuine"}


def test_files_that_hold_no_verdicts_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.csv"
    with pytest.raises(ManifestError, match="does not exist"):
        read_verdicts(path)
    path.write_text("claim_id,decision\na,accept\n")
    with pytest.raises(ManifestError, match=r"lacks the column\(s\) verdict"):
        read_verdicts(path)
    path.write_text("claim_id,verdict\na,genuine\nb,maybe\n")
    with pytest.raises(ManifestError, match="row 3 has 'maybe'"):
        read_verdicts(path)
    path.write_text("claim_id,verdict\na,genuine\na,forged\n")
    with pytest.raises(ManifestError, match="two verdicts on claim 'a'"):
        read_verdicts(path)
    path.write_text("claim_id,verdict\na,Genuine\nb,\n")
    assert list(read_verdicts(path)) == ["a"]
