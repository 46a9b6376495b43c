from sam_adapt_ros.io.foreign_content import text_instead_of_binary


def test_a_binary_length_that_reads_as_a_tag() -> None:
    """safetensors files begin with the length of their header in eight bytes; the first of them may be any."""
    assert text_instead_of_binary(b"<\x02\0\0\0\0\0\0{") is None
    assert "web page" in (text_instead_of_binary(b"\xef\xbb\xbf\n <html>") or "")
