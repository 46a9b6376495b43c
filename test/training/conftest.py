from small_network import _make_frame, network, segmenter, shapes, tiny  # noqa: F401 (fixtures)
