"""A benchmark from the data sets to the table, on a world of shapes."""

import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import benchmark_support
import numpy as np
import pytest
import torch
import yaml
from benchmark_support import CLASSES, plan_of, small_benchmark

from sam_adapt_ros.errors import ConfigError, MaskError, OutputError, StoreError, WeightsError
from sam_adapt_ros.io.lock import locked
from sam_adapt_ros.parallel import choose_engine
from sam_adapt_ros.pipelines.benchmark import plan as plan_module
from sam_adapt_ros.pipelines.benchmark import training_process
from sam_adapt_ros.pipelines.benchmark.frame_shards import StoredLabels, load_predictions
from sam_adapt_ros.pipelines.benchmark.results import gather
from sam_adapt_ros.pipelines.benchmark.run import RESULTS, TABLES, make_plan, run_benchmark
from sam_adapt_ros.pipelines.benchmark.stages import LOCK, MANIFEST, run_stages
from sam_adapt_ros.progress import no_progress
from sam_adapt_ros.pseudo_labels.selection import Candidates, apply_thresholds, dataset_thresholds
from sam_adapt_ros.segmentation import weights as weights_files

UDA = ["source", "xmuda", "student_selected", "student", "oracle"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def finished(files, tmp_path_factory):
    """Output and results of an unbroken run, with the ablation of the pseudo-labels."""
    torch.set_num_threads(1)
    output = tmp_path_factory.mktemp("uda")
    return output, run_benchmark(plan_of(files, ablate=True), output)


@pytest.fixture(scope="module")
def source_free(files, finished, tmp_path_factory):
    """Of the source model of ``finished``, without source data: output and results of an unbroken run."""
    output = tmp_path_factory.mktemp("source_free")
    return output, run_benchmark(plan_of(files, "source_free", weights=weights_of(finished)), output)


def weights_of(finished):
    return finished[0] / "source" / "weights.safetensors"


def test_every_stage_is_in_the_table(finished):
    output, results = finished
    assert [model["stage"] for model in results["models"]] == UDA
    for model in results["models"]:
        assert set(model["miou"]) == set(model["iou"]) == {"2D", "3D", "xM"}
        assert model["frames"] == 4
        for head, iou in model["iou"].items():
            assert list(iou) == list(CLASSES)
            # As published, a class that does not occur counts as 0.
            assert model["miou"][head] == pytest.approx(sum(value or 0 for value in iou.values()) / len(CLASSES))
    assert results["models"][0]["miou"]["xM"] > 0.25
    assert json.loads((output / RESULTS).read_text()) == results


def test_published_rows_are_named_as_such_and_stand_beside_their_stage(finished):
    output, _ = finished
    lines = (output / TABLES).read_text().splitlines()
    (source,) = [place for place, line in enumerate(lines) if line.startswith("| source only |") and "| 4 |" in line]
    assert lines[source + 1] == "| published: source only | 58.4 | 62.8 | 68.2 |  |"
    (student,) = [
        place for place, line in enumerate(lines) if line.startswith("| xMUDA + PL, MLA + GAPP |") and "| 4 |" in line
    ]
    assert lines[student + 1] == "| published: another method | 70.0 | – | 72.3 |  |"
    assert sum("published: " in line for line in lines[2:]) == 3  # these, and the title's source
    assert any("were not measured here" in line for line in lines)
    assert {path.name for path in (output / "plots").iterdir()} == {"miou.png", "pseudo_labels.png"}


def test_pseudo_labels_are_those_of_the_published_filter(finished, files):
    """Selected again, all at once, from the predictions on disk; and the labels that students are given."""
    output, _ = finished
    frames = [
        frame for path in sorted((output / "predictions/shards").glob("0*.npz")) for frame in load_predictions(path)
    ]
    plan = plan_of(files)
    data = plan.target.train.dataset
    assert [frame.id for frame in frames] == list(data.ids)
    selection = plan.settings("selection").pseudo_labels.selection
    found = {by: StoredLabels(output / "selection/shards", tuple(data.ids), by, 2) for by in (True, False)}
    for place, frame in enumerate(frames):
        labels = []
        for branch in range(3):
            together = Candidates(
                *(np.concatenate([getattr(f, name)[branch] for f in frames]) for name in ("labels", "probability"))
            )
            thresholds = dataset_thresholds(together, len(CLASSES), selection)
            spread = np.full(len(data[place].points), 255, np.uint8)
            spread[frame.rows] = apply_thresholds(frame.candidates(branch), thresholds)
            labels.append(spread)
        of_points, of_image = found[True](frame.id, len(spread))
        np.testing.assert_array_equal(of_image, labels[0])
        np.testing.assert_array_equal(of_points, labels[1])
        fused, same = found[False](frame.id, len(spread))
        np.testing.assert_array_equal(fused, labels[2])
        assert same is None
        truth = data[place].ground_truth[frame.rows]
        np.testing.assert_array_equal(frame.truth, truth)


def test_tables_by_class_have_each_class_in_its_column(finished):
    output, results = finished
    lines = (output / TABLES).read_text().splitlines()
    (start,) = [
        place for place, line in enumerate(lines) if line.startswith("**Pseudo-labels of the fused predictions")
    ]
    header, row = ([cell.strip() for cell in lines[start + at].strip("|").split("|")] for at in (2, 4))
    assert header[1:] == list(CLASSES)
    of_class = results["pseudo_labels"][0]["selections"]["fused"]["classes"]
    shown = [cell.split(" / ") for cell in row[1:]]
    for name, (coverage, precision) in zip(CLASSES, shown, strict=True):
        for text, value in ((coverage, of_class[name]["coverage"]), (precision, of_class[name]["precision"])):
            assert text == ("–" if value is None else f"{100 * value:.1f}"), name


def test_masks_make_labels_denser_and_the_ablation_shows_each_constraint(finished):
    output, results = finished

    def enhancement(stage):
        return json.loads((output / stage / MANIFEST).read_text())["depends"]["settings"]["enhancement"].items()

    assert {stage.name: dict(enhancement(stage.name) - enhancement("labels")) for stage in output.glob("labels_*")} == {
        "labels_direct": {"propagation": "direct"},
        "labels_without_size": {"min_points": 1},
        "labels_without_purity": {"min_purity": 0.0},
        "labels_without_representativity": {"min_representativity": 0.0},
    }
    by_stage = {each["stage"]: each["selections"]["fused"] for each in results["pseudo_labels"]}
    assert list(by_stage) == [
        *("selection", "labels", "labels_direct", "labels_without_size", "labels_without_purity"),
        "labels_without_representativity",
    ]
    before, after = by_stage["selection"], by_stage["labels"]
    assert 0.2 < before["coverage"] < after["coverage"]
    assert after["coverage"] <= by_stage["labels_direct"]["coverage"]
    assert after["coverage"] < by_stage["labels_without_purity"]["coverage"]
    outcomes = next(each["masks"]["fused"] for each in results["pseudo_labels"] if each["stage"] == "labels")
    assert outcomes["labelled"] > 0
    assert outcomes["purity"] > 0


def test_a_class_without_pseudo_labels_is_said(finished):
    _, results = finished
    assert any(text.startswith("labels: no pseudo-label of") and "tree" in text for text in results["notices"])


def test_a_second_run_does_nothing_and_gives_the_same(finished, files, monkeypatch):
    output, results = finished
    before = {path: path.stat().st_mtime_ns for path in output.glob("*/**/*") if path.is_file()}
    assert run_benchmark(plan_of(files, ablate=True), output) == results
    after = {path: path.stat().st_mtime_ns for path in output.glob("*/**/*") if path.is_file()}
    assert {p: t for p, t in after.items() if "plots" not in p.parts} == {
        p: t for p, t in before.items() if "plots" not in p.parts
    }


def test_interrupted_again_and_again_it_gives_the_same(finished, source_free, files, tmp_path, monkeypatch):
    """At writes all over the run, in the middle of the file."""
    write, counter = os.write, {"writes": 0, "stop": 0}

    def interrupt(descriptor, data):
        counter["writes"] += 1
        if counter["writes"] == counter["stop"]:
            write(descriptor, bytes(data)[: len(data) // 2])
            raise KeyboardInterrupt
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", interrupt)
    interruptions, results = 0, None
    for step in (3, 9, 8, 11, 14, 9, 1000):
        counter["stop"] = counter["writes"] + step
        try:
            results = run_benchmark(plan_of(files, "source_free", weights=weights_of(finished)), tmp_path)
        except KeyboardInterrupt:
            interruptions += 1
    assert interruptions >= 5
    assert results == source_free[1]
    for name in (RESULTS, TABLES):
        assert (tmp_path / name).read_bytes() == (source_free[0] / name).read_bytes()


def kill_at(number, files, output, weights=""):
    """A run that is killed in the middle of the write of that number."""
    script = Path(__file__).parents[2] / "support" / "benchmark_support.py"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, script, files, output, weights, str(number)], env=environment, capture_output=True, check=False
    )


def test_killed_it_goes_on_and_gives_the_same(finished, source_free, files, tmp_path):
    killed = kill_at(24, files, tmp_path, weights_of(finished))
    assert killed.returncode == -9, killed.stderr.decode()
    assert any(path.name.endswith(".tmp") for path in tmp_path.rglob(".*"))  # in the middle of a file
    results = run_benchmark(plan_of(files, "source_free", weights=weights_of(finished)), tmp_path)
    assert results == source_free[1]


@pytest.mark.soak
def test_killed_at_every_third_write_it_gives_the_same(finished, files, tmp_path):
    kills = 0
    while (killed := kill_at(4, files, tmp_path)).returncode == -9:
        kills += 1
    assert killed.returncode == 0, killed.stderr.decode()
    assert kills > 20
    results = json.loads((tmp_path / RESULTS).read_text())
    assert results["models"] == finished[1]["models"]
    assert results["pseudo_labels"] == finished[1]["pseudo_labels"][:2]


def test_a_full_disk_amid_the_masks_keeps_what_is_done(finished, files, tmp_path, monkeypatch):
    output = finished[0]
    write, room = os.write, {"masks": 2}

    def full(descriptor, data):
        name = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        if "/masks/" in name and "shards/.0" in name:
            room["masks"] -= 1
            if room["masks"] < 0:
                write(descriptor, bytes(data)[:10])
                raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data)

    without_training = ["student_selected", "student", "oracle"]
    plan = plan_of(files, "source_free", weights=weights_of(finished))
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StoreError, match=r"masks/segments/shards/000004\.npz: No space left on device \(disk_full\)"):
        run_benchmark(plan, tmp_path, skip=without_training)
    monkeypatch.undo()
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "masks/segments/shards").glob("0*")}
    assert sorted(kept) == ["000000.npz", "000002.npz"]
    results = run_benchmark(plan, tmp_path, skip=without_training)
    assert results["masks"]["frames"] == 6
    for name, modified in kept.items():
        path = tmp_path / "masks/segments/shards" / name
        assert path.stat().st_mtime_ns == modified
    for path in (tmp_path / "masks").rglob("0*.npz"):  # as of a disk that was never full
        assert path.read_bytes() == (output / path.relative_to(tmp_path)).read_bytes()


def test_source_free_takes_a_model_and_no_source_data(finished, source_free, files):
    output, results = source_free
    assert plan_of(files, "source_free", weights=weights_of(finished)).source is None
    names = {model["stage"]: model["name"] for model in results["models"]}
    assert list(names) == ["source", "student_selected", "student", "oracle"]
    assert names["student"] == "source + PL, MLA + GAPP"
    of = {model["stage"]: model for model in results["models"]}
    assert of["source"]["miou"] == finished[1]["models"][0]["miou"]
    assert len({model["version"] for model in results["models"]}) == 4
    predictions = [sorted((folder / "predictions/shards").glob("0*")) for folder in (output, finished[0])]
    assert predictions[0][0].read_bytes() != predictions[1][0].read_bytes()  # of the source, not of xMUDA


def test_skipped_stages_have_no_figures_and_are_said(finished, files, tmp_path):
    plan = plan_of(files, "source_free", weights=weights_of(finished))
    skip = ["predictions", "oracle"]
    results = run_benchmark(plan, tmp_path, skip=skip)
    assert [model["stage"] for model in results["models"] if "miou" in model] == ["source"]
    assert "oracle is skipped, as asked for" in results["notices"]
    assert "student is skipped: it needs labels" in results["notices"]
    assert "| oracle | – | – | – | not measured |" in (tmp_path / TABLES).read_text()


def test_a_training_process_trains_the_same_model(finished, files, tmp_path):
    """Of the values that the benchmark gives it as JSON."""
    model, output = {row["stage"]: row for row in finished[1]["models"]}["student"], finished[0]
    inputs = {"labels": str(output / "labels")}
    request = {"plan": plan_of(files).request(), "model": "student", "driver": os.getpid(), "inputs": inputs}
    (tmp_path / "request.json").write_text(json.dumps(request | {"folder": str(tmp_path / "student")}))
    training_process.main(str(tmp_path / "request.json"))
    assert weights_files.load(tmp_path / "student/weights.safetensors").version == model["version"]


@pytest.mark.soak
def test_two_processes_train_what_one_does(files, tmp_path, monkeypatch):
    """Source alone: what the others learn from depends on it."""
    pytest.importorskip("lightning_fabric")
    (tmp_path / "sitecustomize.py").write_text("import benchmark_support")  # the processes know its data set, too
    known = [str(tmp_path), str(Path(benchmark_support.__file__).parent), *filter(None, sys.path)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(known))
    found = []
    for devices in (1, 2):
        plan = plan_of(files, overrides={"fabric.devices": devices, "training.batch_size": 4})
        skip = [stage.name for stage in plan.stages() if stage.name not in ("source", "test_source")]
        found.append(run_benchmark(plan, tmp_path / f"{devices}", skip=skip)["models"][0]["miou"])
    for head, miou in found[0].items():
        assert found[1][head] == pytest.approx(miou, abs=0.02)


@pytest.mark.soak
def test_processes_give_the_same_as_one(finished, source_free, files, tmp_path):
    plan = plan_of(files, "source_free", weights=weights_of(finished), engine=choose_engine(2))
    assert run_benchmark(plan, tmp_path) == source_free[1]


def test_weights_of_other_classes_or_another_network_are_refused_before_the_work_begins(finished, files, tmp_path):
    plan = plan_of(files, "source_free", weights=Path("resource/town_small.safetensors").resolve())
    with pytest.raises(WeightsError, match="taxonomy: shapes4 expected"):
        run_benchmark(plan, tmp_path)
    plan = plan_of(files, "source_free", weights=weights_of(finished), overrides={"training.architecture": "mini"})
    with pytest.raises(WeightsError, match=r"architecture\.encoder_depth: 4 expected, the file has 3"):
        run_benchmark(plan, tmp_path)
    assert not list(tmp_path.iterdir())


def test_other_settings_are_refused_by_name(finished, files):
    plan = plan_of(files, overrides={"pseudo_labels.selection.quantile": 0.8})
    with pytest.raises(OutputError, match=r"selection: .*pseudo_labels\.selection\.quantile: 0\.5 then, 0\.8 now"):
        run_benchmark(plan, finished[0])


def test_two_benchmarks_in_one_folder_are_refused(files, tmp_path):
    with locked(tmp_path / LOCK, 0), pytest.raises(OutputError, match="another process is at work here"):
        run_benchmark(plan_of(files), tmp_path)
    assert not list(tmp_path.rglob(MANIFEST))


def test_what_does_not_fit_is_named_before_the_work_begins(files, tmp_path):
    with pytest.raises(ConfigError, match=r"--skip: masc: not a stage of this benchmark .*masks"):
        run_benchmark(plan_of(files), tmp_path, skip=["masc"])
    with pytest.raises(ConfigError, match=r"stage source: masks\.generatr"):
        plan_of(files, overrides={"masks.generatr": "sam"})
    with pytest.raises(ConfigError, match="--data: a root of the data set shapes expected"):
        make_plan(small_benchmark(files), "uda", [])
    for overrides, error, message in (
        ({"masks.generator": "sam"}, MaskError, r"masks\.sam\.checkpoint: no file given"),
        ({"masks.generator": "sma"}, MaskError, r"masks\.generator: unknown generator 'sma'"),
        ({"pseudo_labels.voting_cell": 0.2}, ConfigError, r"pseudo_labels\.voting_cell: 0 expected"),
    ):
        with pytest.raises(error, match=message):
            run_benchmark(plan_of(files, overrides=overrides), tmp_path)
    assert not list(tmp_path.iterdir())


def test_stages_of_other_classes_or_cameras_are_refused(finished, files, tmp_path):
    output = finished[0]
    other = tmp_path / "other.yaml"
    content = yaml.safe_load(Path(small_benchmark(files).settings["taxonomy"]).read_text())
    other.write_text(yaml.safe_dump(content | {"classes": content["classes"][::-1]}))
    with pytest.raises(OutputError, match=r"source: .*classes: \['ground', .* then, \['tree', .* now"):
        run_benchmark(plan_of(files, overrides={"taxonomy": str(other)}), output)
    plan = plan_of(files)
    plan.target.config.cameras.append("CAM_FRONT")
    with pytest.raises(OutputError, match=r"test_source: .*cameras: \[\] then, \['CAM_FRONT'\] now"):
        run_benchmark(plan, output)


def test_a_test_split_without_labels_is_said(finished, files):
    plan, output = plan_of(files), finished[0]
    done = run_stages(plan.stages(), output)
    assert not any("nothing is measured" in text for text in gather(plan, done)["notices"])
    facts = dict(done["test_source"].facts)
    facts["confusion"] = {branch: np.zeros_like(counts).tolist() for branch, counts in facts["confusion"].items()}
    done["test_source"] = replace(done["test_source"], facts=facts)
    found = gather(plan, done)
    assert (
        "test_source: nothing is measured: none of 4 frames has a labelled point that the network sees"
        in (found["notices"])
    )
    assert found["models"][0]["miou"] == {}


def learned_by(plan, name, output, monkeypatch):
    """What a stage hands to training: the configuration, source and target."""
    calls = []
    monkeypatch.setattr(plan_module, "train_sets", lambda *given, **_: calls.append(given))
    needs = next(stage.needs for stage in plan.stages() if stage.name == name)
    plan.train(name, output / name, {each: output / each for each in needs}, no_progress)
    return calls[0]


def check_pseudo_labels(shown, target, folder, by_branch):
    """The target's frames, with a stage's labels in place of the true ones."""
    stored = StoredLabels(folder / "shards", tuple(target.dataset.ids), by_branch, 2)
    assert shown.labelled and list(shown.dataset.ids) == list(target.dataset.ids)
    for frame_id, frame in zip(target.dataset.ids, shown.dataset, strict=True):
        labels, of_image = stored(frame_id, len(frame.points))
        np.testing.assert_array_equal(frame.ground_truth, labels)
        assert (frame.image_labels is None) == (of_image is None)
        if of_image is not None:
            np.testing.assert_array_equal(frame.image_labels, of_image)


def test_no_model_but_the_oracle_is_shown_the_true_labels_of_the_target(finished, files, monkeypatch):
    plan, output = plan_of(files), finished[0]
    source, target = plan.source.train, plan.target.train
    config, learned, adapted_to = learned_by(plan, "source", output, monkeypatch)
    assert (learned, list(adapted_to), config.training.initial_weights) == ([source], [], "")
    config, learned, (shown,) = learned_by(plan, "xmuda", output, monkeypatch)
    assert learned == [source] and shown.dataset is target.dataset and not shown.labelled
    for name, labels in (("student_selected", "selection"), ("student", "labels")):
        config, learned, (shown,) = learned_by(plan, name, output, monkeypatch)
        assert learned == [source] and config.training.initial_weights == ""
        check_pseudo_labels(shown, target, output / labels, by_branch=True)
    config, learned, adapted_to = learned_by(plan, "oracle", output, monkeypatch)
    assert (learned, list(adapted_to), config.training.initial_weights) == ([target], [], "")
    both = plan.config.model_copy(update={"oracle_with_source": True})
    config, learned, adapted_to = learned_by(replace(plan, config=both), "oracle", output, monkeypatch)
    assert (learned, list(adapted_to)) == ([source], [target])


def test_source_free_students_go_on_from_the_source_model_with_fused_labels(finished, source_free, files, monkeypatch):
    plan, output = plan_of(files, "source_free", weights=weights_of(finished)), source_free[0]
    target = plan.target.train
    for name, labels in (("student_selected", "selection"), ("student", "labels")):
        config, learned, (shown,) = learned_by(plan, name, output, monkeypatch)
        assert learned == [] and config.training.initial_weights == str(output / "source/weights.safetensors")
        check_pseudo_labels(shown, target, output / labels, by_branch=False)
    _, learned, adapted_to = learned_by(plan, "oracle", output, monkeypatch)
    assert (learned, list(adapted_to)) == ([target], [])
