"""Table 1 of the paper: self-driven reenactment, with the ablation rows."""

from __future__ import annotations

from chatanyone.evaluation import learned, reenacted
from chatanyone.evaluation.measures import Measure, Outcome, not_computed
from chatanyone.evaluation.reenacted import Rows
from chatanyone.evaluation.session import Session
from chatanyone.evaluation.studio import ALL_NETWORKS, NO_FACE_REFINE, NO_HAND_INJECTION, NO_IMPLICIT_OFFSET, available

TITLE = "Table 1: self-driven reenactment, and what each part earns"
NEEDS: tuple[str, ...] = ("clips",)
# Direction the paper's ablations say: row that lacks the part, number, whether the whole should be larger.
DIRECTIONS = ((NO_HAND_INJECTION, "HKC ÷ true frame's", True), (NO_FACE_REFINE, "face sharpness ÷ true frame's", True),
              (NO_IMPLICIT_OFFSET, "face error", False))


def measure(session: Session) -> Outcome:
    clips = dict(reenacted.clips(session))
    names = [variant.name for variant in reenacted.variants(session)]
    rows: list[Measure] = []
    for name in names:
        rows += _weight_free(clips, name) + learned.of_pairs(session, name, "true", list(clips), name)
    rows += [not_computed("PSNR", "this version has no switch for it", variant.name)
             for variant in (NO_HAND_INJECTION, NO_FACE_REFINE, NO_IMPLICIT_OFFSET)
             if not available(session.studio.config, variant)]
    about = (f"{len(clips)} clips; PSNR and SSIM over the person. HKC has no public definition: here MediaPipe's hand "
             "confidence, a lost hand counts 0, against the true frame's. Numbers of other data, such as the paper's, do not "
             "compare")
    return Outcome("table1", TITLE, rows + directions(rows), about, matrix=True)


def directions(rows: list[Measure]) -> list[Measure]:
    """Whether each part helps what the paper says it helps, from pairs of rows over the same clips."""
    found = []
    for variant, name, larger in DIRECTIONS:
        whole, lacking = (_row(rows, name, engine) for engine in (ALL_NETWORKS.name, variant.name))
        if whole is None or lacking is None:
            continue
        gain = {clip: (1 if larger else -1) * (value - lacking.values[clip]) for clip, value in whole.values.items()
                if clip in lacking.values}
        found.append(Measure(f"{name} {'gained' if larger else 'saved'} by the part", gain, whole.unit,
                             f"{ALL_NETWORKS.name} against {variant.name}", note="positive: the paper's direction"))
    return found


def _weight_free(clips: dict[str, Rows], variant: str) -> list[Measure]:
    def by_clip(name: str) -> dict[str, float]:
        return {clip: reenacted.means(rows, variant, name) for clip, rows in clips.items()}

    hkc, true = by_clip("hkc"), by_clip("true hkc")
    seconds = by_clip("seconds")
    return [
        Measure("PSNR", by_clip("psnr"), "dB", variant), Measure("SSIM", by_clip("ssim"), "", variant),
        Measure("HKC", hkc, "", variant),
        Measure("HKC ÷ true frame's", {clip: hkc[clip] / true[clip] for clip in hkc if true[clip] > 0}, "", variant),
        Measure("face error", by_clip("face error"), "% of face width", variant),
        Measure("face sharpness ÷ true frame's", by_clip("face sharpness"), "", variant),
        Measure("face PSNR", by_clip("face psnr"), "dB", variant), Measure("mouth PSNR", by_clip("mouth psnr"), "dB", variant),
        Measure("hands PSNR", by_clip("hands psnr"), "dB", variant),
        Measure("FPS", {clip: 1 / value for clip, value in seconds.items() if value > 0}, "", variant, "median"),
    ]


def _row(rows: list[Measure], name: str, variant: str) -> Measure | None:
    return next((row for row in rows if row.name == name and row.variant == variant and row.known), None)
