"""The model card: data, licences, split, limits, controls and swap tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from utils.networks.manifest import Manifest

TESTS = (
    ("plain", "plain"),
    ("stain_swap", "stain swap"),
    ("background_swap", "background swap"),
    ("grey", "grey"),
    ("stain_jitter", "stain jitter"),
    ("blur", "blur"),
    ("jpeg30", "JPEG quality 30"),
    ("half_size", "half the magnification"),
    ("double_size", "twice the magnification"),
    ("cells_removed", "cells removed"),
)
CONTROLS = (
    ("linear_probe", "linear probe on ImageNet features"),
    ("colour_5nn", "5-NN on six colour numbers"),
    ("majority", "majority class"),
)


@dataclass(frozen=True)
class Origin:
    """Where a network comes from, for its manifest and card.

    Attributes
    ----------
    dataset, licence, start, start_licence, outliers : str
        In words.
    domain : str
        What it was trained on, in one sentence for the report.
    elsewhere : dict of str to str
        Sets of other laboratories that it may train on too, by the folder's name: in words,
        with the licence.
    """

    dataset: str
    licence: str
    start: str
    start_licence: str
    outliers: str
    domain: str
    elsewhere: dict[str, str] = field(default_factory=dict)


def write_card(manifest: Manifest, metrics: dict[str, Any], origin: Origin, path: Path) -> None:
    """Write `card.md`.

    Parameters
    ----------
    manifest : Manifest
    metrics : dict
        As `utils.networks.publish` measured them.
    origin : Origin
    path : Path
    """
    sections = [
        _head(manifest, origin),
        _evidence(manifest, metrics),
        *([_elsewhere(metrics)] if metrics.get("elsewhere") else []),
        _classes(metrics),
        _limits(manifest, metrics),
        _repeat(manifest),
    ]
    path.write_text("\n\n".join(sections) + "\n", encoding="utf-8")


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3f}"


_FIELD_SAYS = """The network names the **pattern that
a field resembles**; it makes no diagnosis. Early pre-B, pre-B and pro-B ALL are immunophenotypic
entities: confirm by flow cytometry."""
_CELL_SAYS = """The network names the **class that
a single cell resembles**; it makes no diagnosis. Lineage and clonality of blasts need flow
cytometry."""
_FIELD_CHANGES = """Backgrounds swapped between
  classes, fields without cells and pictures of other kinds with a uniform target, stain mixing,
  optical-density jitter, some grey."""
_CELL_CHANGES = """Each tile's middle cell is found,
  outlined and cut out at its own scale against a balanced background, as in serving. Cells on other
  surroundings, tiles without their cell with a uniform target, stain mixing, optical-density jitter
  and mixing of the channels, some grey, lower magnifications, blur, JPEG."""


def _head(manifest: Manifest, origin: Origin) -> str:
    training = manifest.training
    pictures = training["pictures"]
    parent = training.get("parent", "none")
    going_on = "" if parent == "none" else f"going on from {parent}; "
    names = ", ".join(f"{c.code} ({c.display_name})" for c in manifest.classes)
    says = _FIELD_SAYS if manifest.task == "field" else _CELL_SAYS
    others = "".join(
        f"\n- **Trained on as well, but for the last quarter of its files:** `{name}`, {words}"
        for name, words in training.get("elsewhere", {}).items()
    )
    changes = _FIELD_CHANGES if manifest.task == "field" else _CELL_CHANGES
    return f"""# {manifest.name} {manifest.version}

*For Research Use Only. Not for use in diagnostic procedures.* {says}

- **Classes:** {names}. A closed world: whatever else a smear may show should end in
  “Unclassifiable — review”.
- **Architecture:** {manifest.backbone}. Heatmaps: {manifest.heat_layer}.
- **Trained on:** {origin.dataset} Licence: {origin.licence}{others}
- **Pictures of no class in training:** {origin.outliers}
- **Start weights:** {origin.start} Licence: {origin.start_licence}
- **Recipe:** `{training["recipe"]}`, {going_on}all layers fine-tuned. {changes}
- **Split:** by contiguous blocks of {training["block"]} file numbers, near-duplicates
  (perceptual hash) kept on one side; seed {training["split_seed"]}; {pictures["train"]} training,
  {pictures["validation"]} validation, {pictures["test"]} test pictures. The files of each part
  are named by SHA-256 in `split.json`. Patients cannot be told apart in this set, so a patient may
  stand on both sides of the split.
- **Weights:** float16, computed in float32, SHA-256 `{manifest.weights_sha256}`.
- **Chosen on validation:** temperature {manifest.temperature:.3f}; abstains below a calibrated
  probability of {manifest.abstain_below:.3f}, or beyond an out-of-distribution distance of
  {manifest.out_of_distribution.threshold:.2f}. The test pictures chose nothing."""


def _evidence(manifest: Manifest, metrics: dict[str, Any]) -> str:
    controls = metrics["controls"]
    head = "| test | this network | " + " | ".join(name for _, name in CONTROLS) + " |"
    rows = [head, "| --- " * (2 + len(CONTROLS)) + "|"]
    for key, name in TESTS:
        if key not in ("plain", "cells_removed") and key not in metrics["robustness"]:
            continue
        if key == "plain":
            own = f"**{metrics['accuracy']:.3f}**"
        elif key == "cells_removed":
            gone = metrics["cells_removed"]
            own = (
                f"{gone['accuracy']:.3f}, mean highest probability "
                f"{gone['mean_highest_probability']:.2f}, abstains on **{gone['abstained']:.3f}**"
            )
        else:
            own = f"**{metrics['robustness'][key]:.3f}**"
        others = [_number(controls.get(control, {}).get(key)) for control, _ in CONTROLS]
        rows.append(f"| {name} | {own} | " + " | ".join(others) + " |")
    return "\n".join(
        [
            "## Does it read the cells?",
            "",
            "Accuracy on the test pictures, highest class of each, abstained or not.",
            "",
            *rows,
            "",
            _FIELD_READS if manifest.task == "field" else _CELL_READS,
        ]
    )


_FIELD_READS = (
    "The four classes differ in stain and slide: six colour numbers alone name most of the "
    "plain pictures rightly, so the first row shows nothing about morphology. A network "
    "that reads cells keeps its answer under both swaps, where the controls lose theirs, "
    "and has none left when the cells are gone: that is what the second, third and last "
    "rows show. With the cells removed a low accuracy and a high share of abstention are "
    "the good result."
)
_CELL_READS = (
    "All classes come from the same slides, so that six colour numbers alone tell little. What "
    "matters here is how little is lost under another stain, other surroundings and another "
    "magnification, and that nothing is named where the cell is gone."
)


def _elsewhere(metrics: dict[str, Any]) -> str:
    rows = ["| cells | n | accuracy | kept | accuracy on the kept |", "| --- " * 5 + "|"]
    rows += [
        f"| {name} | {row['n']} | {row['accuracy']:.3f} | {row['coverage']:.3f} | "
        f"{_number(row['accuracy_on_kept'])} |"
        for name, row in metrics["elsewhere"].items()
    ]
    return "\n".join(
        [
            "## Other laboratories' cells",
            "",
            "The quarter of each set that it did not train on. It knows these laboratories from "
            "the other three quarters: of one that it has never seen expect less.",
            "",
            *rows,
        ]
    )


def _classes(metrics: dict[str, Any]) -> str:
    rows = ["| class | precision | recall | F1 | AUC | support |", "| --- " * 6 + "|"]
    for code, row in metrics["per_class"].items():
        rows.append(
            f"| {code} | {row['precision']:.3f} | {row['recall']:.3f} | {row['f1']:.3f} | "
            f"{_number(row['auc'])} | {row['support']} |"
        )
    ranges = metrics.get("intervals", {})

    def spread(key: str) -> str:
        if key not in ranges:
            return ""
        low, high = ranges[key]
        return f" ({low:.3f}–{high:.3f})"

    ood = metrics["ood"]
    others = "".join(
        f" {name}: AUROC {row['auroc']:.3f}, n = {row['n']}."
        for name, row in metrics.get("other_kinds", {}).items()
    )
    return "\n".join(
        [
            "## Figures",
            "",
            f"n = {metrics['n']}. Accuracy {metrics['accuracy']:.3f}{spread('accuracy')}, balanced "
            f"{metrics['balanced_accuracy']:.3f}{spread('balanced_accuracy')}, macro F1 "
            f"{metrics['macro_f1']:.3f}{spread('macro_f1')}, weighted F1 "
            f"{metrics['weighted_f1']:.3f}, κ {metrics['kappa']:.3f}{spread('kappa')}, m-score "
            f"{metrics['m_score']:.3f}; 95 % intervals by group bootstrap. ECE (15 bins) "
            f"{metrics['ece']:.3f}, Brier {metrics['brier']:.3f}, area under risk–coverage "
            f"{metrics['aurc']:.4f}, accuracy on the surest 80 % "
            f"{_number(metrics.get('accuracy_on_surest_80'))}. Keeps {metrics['coverage']:.3f} of "
            f"the pictures, {_number(metrics['accuracy_on_kept'])} of them rightly named.",
            "",
            *rows,
            "",
            f"Pictures that are no smear (synthesised, {ood['n']} of several kinds, none of them "
            f"used to set the threshold): AUROC {ood['auroc']:.4f}, FPR95 {ood['fpr95']:.4f}."
            f"{' Smears of another kind:' + others if others else ''}",
        ]
    )


def _limits(manifest: Manifest, metrics: dict[str, Any]) -> str:
    if manifest.task == "cell":
        known = "One laboratory, one scanner, one stain"
        if metrics.get("elsewhere"):
            known = (
                "Marrow of one laboratory; of the others a few hundred blood cells of four classes"
            )
        return f"""## Limits

- {known}. How it does on another laboratory's cells is measured with
  `flask network evaluate NAME --dataset DIR` on a set of cells; expect less than above.
- A closed world of seven classes. Erythroblasts, plasma cells, basophils, megakaryocytes and the
  granulocytes between promyelocyte and segmented neutrophil are unknown to it; they should end in
  “Unclassifiable — review”, and some will not.
- The labels are one observer's. Monocyte against blast and “not identifiable” against everything
  are where observers disagree, and where it errs. A blast that is called a lymphocyte or a monocyte
  is the error that matters most.
- The crop follows the outline of the cell. Where the outline is wrong, the reading is of that crop.
- Heatmaps have 5 × 5 cells and show what raised a logit, not what a pathologist would call a
  criterion."""
    return """## Limits

- One laboratory, one microscope, few stains. Another laboratory's fields are further away than any
  test above shows; many of them should end in “Unclassifiable — review”.
- “Benign” means hematogone-rich, not healthy. Hematogones are common in children, after
  chemotherapy and after transplant, and look like lymphoblasts.
- AML, T-ALL, Burkitt, reactive lymphocytes and metastasis are unknown to it. It may still take one
  of them for one of its four patterns.
- The labels of the source come from flow cytometry of the patient, not of the field: a field of a
  patient with pre-B ALL is labelled so whatever it shows.
- The background swap uses this project's own nucleus map, in training and in the test alike; cells
  that the map does not find stay where they are.
- Heatmaps have 7 × 7 cells and show what raised a logit, not what a pathologist would call a
  criterion."""


def _repeat(manifest: Manifest) -> str:
    folders = manifest.training.get("elsewhere", {})
    rest = f"--recipe {manifest.training['recipe']}" + "".join(
        f" \\\n        --elsewhere ../shared/datasets/{folder}" for folder in folders
    )
    parent = str(manifest.training.get("parent", "none"))
    if parent != "none":
        rest += f" \\\n        --from {parent.split()[0]}"
    if manifest.task == "field":
        rest = "--outliers ../shared/datasets/marrow7 --other-kinds ../shared/datasets/bccd/images"
    return f"""## Repeat it

    flask network train --name {manifest.name} --data ../shared/datasets/{manifest.name} \\
        --weights ../shared/weights/resnet50_imagenet_notop.weights.h5 \\
        {rest}
    flask network evaluate {manifest.name} --dataset ../shared/datasets/{manifest.name} \\
        --part test --robustness"""
