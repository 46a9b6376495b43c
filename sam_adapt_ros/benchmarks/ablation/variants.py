"""The variants of the pseudo-labels that an ablation compares, and the sweeps of every threshold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sam_adapt_ros.config import EnhancementConfig, PseudoLabelConfig, SelectionConfig
from sam_adapt_ros.pseudo_labels.mask_label_assignment import UNCONSTRAINED

SELECTION = "selection"
"""Name of the baseline variant: selection without masks."""

ENHANCEMENT_SWEEPS: dict[str, tuple[float, ...]] = {
    "min_points": (1, 2, 3, 5, 10, 20),
    "min_purity": (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0),
    "min_representativity": (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5),
    "radius_per_metre": (0.0, 0.01, 0.02, 0.03, 0.05, 0.08, 0.12),
    "min_radius": (0.1, 0.2, 0.3, 0.5, 0.8, 1.2),
    "max_radius": (0.5, 1.0, 1.5, 2.0, 3.0, 5.0),
}
SELECTION_SWEEPS: dict[str, tuple[float, ...]] = {
    "quantile": (0.0, 0.1, 0.25, 0.5, 0.65, 0.8, 0.9),
    "cap": (0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 0.995),
}


@dataclass(frozen=True)
class Variant:
    """One row of the table, or one value of a sweep.

    enhancement: None for selection alone. generator: of the masks. visible: whether hidden points are excluded.
    parameter, value: the varied threshold of a sweep; ``name`` is then the line of the plot.
    """

    name: str
    selection: SelectionConfig
    enhancement: EnhancementConfig | None = None
    generator: str = ""
    visible: bool = False
    parameter: str = ""
    value: float | None = None

    @property
    def swept(self) -> bool:
        return bool(self.parameter)


def rows(config: PseudoLabelConfig, generators: Sequence[str]) -> list[Variant]:
    """The rows of the table. generators: the configured one first; each other one adds two rows."""
    selection, full, first = config.selection, config.enhancement, generators[0]
    direct, gapp = (full.model_copy(update={"propagation": how}) for how in ("direct", "gapp"))
    always = config.visibility.enabled
    found = [
        Variant(SELECTION, selection),
        Variant("+ MLA, direct", selection, direct, first, always),
        Variant("+ MLA + GAPP", selection, gapp, first, always),
    ]
    for constraint, update in UNCONSTRAINED.items():
        found.append(
            Variant(f"GAPP without {constraint.value}", selection, gapp.model_copy(update=update), first, always)
        )
    found.append(
        Variant(
            "GAPP, relabel " + ("off" if full.relabel else "on"),
            selection,
            gapp.model_copy(update={"relabel": not full.relabel}),
            first,
            always,
        )
    )
    for name, visible in (("with visibility", True), ("without visibility", False)):
        if visible != always:
            found.append(Variant(f"direct {name}", selection, direct, first, visible))
            found.append(Variant(f"GAPP {name}", selection, gapp, first, visible))
    for generator in generators[1:]:
        found.append(Variant(f"direct, {generator}", selection, direct, generator, always))
        found.append(Variant(f"GAPP, {generator}", selection, gapp, generator, always))
    return found


def sweeps(config: PseudoLabelConfig, generator: str) -> Iterator[Variant]:
    """Sweeps of every threshold, one at a time; those of selection also without masks."""
    full = config.enhancement
    always = config.visibility.enabled
    for parameter, values in ENHANCEMENT_SWEEPS.items():
        for value in _with(values, getattr(full, parameter)):
            enhancement = full.model_copy(update={parameter: int(value) if parameter == "min_points" else value})
            if enhancement.min_radius <= enhancement.max_radius:
                yield Variant(parameter, config.selection, enhancement, generator, always, parameter, value)
    for parameter, values in SELECTION_SWEEPS.items():
        for value in _with(values, getattr(config.selection, parameter)):
            selection = config.selection.model_copy(update={parameter: value})
            yield Variant(f"{parameter}, selection alone", selection, parameter=parameter, value=value)
            yield Variant(parameter, selection, full, generator, always, parameter, value)


def _with(values: tuple[float, ...], configured: float) -> list[float]:
    return sorted({*values, configured})
