"""What lies where a file should be: downloads leave web pages, and clones without Git LFS leave pointers."""

from __future__ import annotations

HEAD = 512  # bytes that tell
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_WHITE = "\ufeff \t\r\n"
_SHOWN = 40


def placeholder(head: bytes) -> str | None:
    """What was left in place of a file, and what to do; None where the file may be right.

    head: the file's first ``HEAD`` bytes, or all where there are fewer.
    """
    if not head:
        return "an empty file; download it again"
    if head.startswith(_LFS_POINTER):
        return "a Git LFS pointer instead of the file; fetch the file with 'git lfs pull'"
    # No text has NUL; the length that safetensors files begin with has, whatever its first byte.
    if b"\0" not in head and head.decode("utf-8", "ignore").lstrip(_WHITE)[:1] == "<":
        return "a web page instead of the file; download the file itself"
    return None


def text_instead_of_binary(head: bytes) -> str | None:
    """As ``placeholder``, for files that are not text: other texts are named as well."""
    if found := placeholder(head):
        return found
    if len(head) > 8 and all(char.isprintable() or char in _WHITE for char in head.decode("latin-1")):
        text = head.decode("utf-8", "ignore").strip(_WHITE)
        return f"a text that begins with {text[:_SHOWN]!r}; download the file itself"
    return None
