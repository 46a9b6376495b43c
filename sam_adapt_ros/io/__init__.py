"""Files that survive a kill or a power cut at any instant, locks between processes, and content hashes.

This is the only place that writes such files: ``atomic_write`` for bytes, ``arrays`` for NumPy arrays with facts.
"""
