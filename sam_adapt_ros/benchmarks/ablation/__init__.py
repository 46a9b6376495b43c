"""Ablation of the pseudo-labels: variants and threshold sweeps, measured on drives with ground truth."""

from sam_adapt_ros.benchmarks.ablation.report import HEADER, prepare_report, table, write_report
from sam_adapt_ros.benchmarks.ablation.run import Ablation, Result, ablate

__all__ = ["HEADER", "Ablation", "Result", "ablate", "prepare_report", "table", "write_report"]
