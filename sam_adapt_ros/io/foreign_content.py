"""What lies where a binary file should be: downloads leave web pages, and clones without Git LFS leave pointers."""

from __future__ import annotations

HEAD = 512  # bytes that tell
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_SHOWN = 40


def text_instead_of_binary(head: bytes) -> str | None:
    """What a file that should be binary is instead, and what to do, by its first bytes; None where it may be right.

    head: the first ``HEAD`` bytes, or all where there are fewer.
    """
    if not head:
        return "an empty file; download it again"
    if head.startswith(_LFS_POINTER):
        return "a Git LFS pointer instead of the file; fetch the file with 'git lfs pull'"
    text = head.decode("utf-8", "ignore").lstrip("\ufeff \t\r\n")
    if text[:1] == "<":
        return "a web page instead of the file; download the file itself"
    if len(head) > 8 and text and all(char.isprintable() or char in "\t\r\n" for char in head.decode("latin-1")):
        return f"a text that begins with {text[:_SHOWN]!r}; download the file itself"
    return None
