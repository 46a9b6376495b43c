"""Drives of the simulator in the layouts of data sets, so that their readers and benchmarks run without the data.

Each data set's scenes, sequences or recordings have the names that its splits ask for, in a domain for each split.
"""

from sam_adapt_ros.pipelines.layouts.folder import LAYOUTS, town_layout, write_layout

__all__ = ["LAYOUTS", "town_layout", "write_layout"]
