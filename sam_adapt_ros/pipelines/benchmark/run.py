"""A benchmark from the data sets to the table."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from sam_adapt_ros.config.benchmark import BenchmarkConfig, Setting
from sam_adapt_ros.errors import ConfigError
from sam_adapt_ros.io.outputs import output_errors, write_text
from sam_adapt_ros.notices import Notices
from sam_adapt_ros.parallel import Engine
from sam_adapt_ros.pipelines.benchmark.domains import Domain, assign_roots
from sam_adapt_ros.pipelines.benchmark.frame_shards import FRAMES
from sam_adapt_ros.pipelines.benchmark.plan import MASKS, SOURCE, Plan
from sam_adapt_ros.pipelines.benchmark.results import gather
from sam_adapt_ros.pipelines.benchmark.stages import run_stages
from sam_adapt_ros.pipelines.benchmark.tables import draw, markdown
from sam_adapt_ros.progress import Stages, no_stages

RESULTS, TABLES, PLOTS = "results.json", "results.md", "plots"
"""What a run leaves in its folder, beside a folder a stage."""


def make_plan(
    config: BenchmarkConfig,
    setting: Setting,
    data: Sequence[str],
    *,
    overrides: Mapping[str, Any] | None = None,
    weights: Path | None = None,
    allow_missing: bool = False,
    ablate: bool = False,
    students: bool = False,
    engine: Engine | None = None,
    frames_a_shard: int = FRAMES,
) -> Plan:
    """What is to be run.

    data: roots of the data sets, ``ROOT`` or ``NAME=ROOT``. weights: of the source model, where it is given: the source
    is then needed for nothing but unsupervised domain adaptation. ablate, students: see ``Plan``.

    Raises ConfigError for settings that do not fit, BagError for data that is not there.
    """
    if setting == "source_free" and config.oracle_with_source:
        config = config.model_copy(update={"oracle_with_source": False})
    needs_source = setting == "uda" or weights is None
    notices = Notices()
    settings = config.settings_of(SOURCE, setting, dict(overrides or {}))
    domains = [config.source, config.target] if needs_source else [config.target]
    roots = assign_roots(data, list(dict.fromkeys(each.dataset for each in domains)))
    source, target = (
        Domain(each, roots[each.dataset], settings, allow_missing, notices) if each in domains else None
        for each in (config.source, config.target)
    )
    assert target is not None
    return Plan(
        config=config,
        setting=setting,
        source=source,
        target=target,
        overrides=overrides or {},
        weights=weights,
        ablate=ablate or students,
        students=students,
        engine=engine,
        notices=notices,
        frames_a_shard=frames_a_shard,
    )


def run_benchmark(
    plan: Plan,
    output: Path,
    *,
    skip: Collection[str] = (),
    force: bool = False,
    show: Stages = no_stages,
) -> dict[str, Any]:
    """Does the stages that are not done yet; leaves ``results.json``, ``results.md`` and ``plots``, and returns what
    ``results.json`` has.

    skip: names of stages. Interrupted at any time, however hard, the same call goes on and gives the same results.
    Raises ConfigError and MaskError for what does not fit, before the work begins, and OutputError as ``run_stages``;
    what the stages raise names the file or the setting.
    """
    output = output.absolute()  # other processes may work elsewhere
    stages = plan.stages()
    if unknown := sorted({*skip} - {stage.name for stage in stages}):
        known = ", ".join(stage.name for stage in stages)
        raise ConfigError(f"--skip: {unknown[0]}: not a stage of this benchmark ({known})")
    if MASKS not in skip:
        plan.check_masks()
    done = run_stages(stages, output, skip=skip, force=force, notices=plan.notices, show=show)
    results = gather(plan, done)
    write_text(output / RESULTS, json.dumps(results, indent=1) + "\n")
    write_text(output / TABLES, markdown(results))
    with output_errors(output / PLOTS):
        draw(results, output / PLOTS)
    return results
