"""What each part of the pseudo-labels is worth: variants and sweeps, measured on drives with ground truth."""

from sam_adapt_ros.benchmarks.ablation.report import HEADER, table, write_report
from sam_adapt_ros.benchmarks.ablation.run import Ablation, Result, ablate

__all__ = ["HEADER", "Ablation", "Result", "ablate", "table", "write_report"]
