import hashlib
from pathlib import Path

from sam_adapt_ros.io import hashing


def test_a_file_is_hashed_whatever_its_size(tmp_path: Path) -> None:
    for size in (0, 1, hashing._BLOCK, 2 * hashing._BLOCK + 3):
        content = (b"sam" * (size // 3 + 1))[:size]
        (tmp_path / "file").write_bytes(content)
        assert hashing.hash_file(tmp_path / "file") == hashlib.sha256(content).hexdigest()
