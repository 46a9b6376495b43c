import numpy as np
from buffer_support import make_frame, make_summary
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_adapt_ros.adaptation.buffer import eviction
from sam_adapt_ros.adaptation.buffer.eviction import BoundedFrameSet, BufferEntry, FrameTraits
from sam_adapt_ros.adaptation.buffer.stored_frame import ImageStorage, StoredFrame
from sam_adapt_ros.config import BufferConfig


def slow_eviction(stream, config, limit):
    """The definition, word by word, in loops."""
    kept = []
    for traits in stream:
        kept.append(traits)
        if len(kept) <= limit:
            continue
        mean = sum(each.histogram for each in kept) / len(kept)
        newest = max(each.admitted for each in kept)
        utilities = []
        for i, each in enumerate(kept):
            apart = []
            for j, other in enumerate(kept):
                if i != j:
                    in_place = min(np.linalg.norm(each.position - other.position) / eviction.DISTANCE_SCALE, 1)
                    in_appearance = eviction.APPEARANCE_WEIGHT * np.linalg.norm(each.descriptor - other.descriptor)
                    apart.append(np.sqrt(in_place**2 + in_appearance**2))
            divergence = sum(h * np.log(h / m) for h, m in zip(each.histogram, mean, strict=True) if h > 0)
            utility = (np.mean(sorted(apart)[:2]) + 1e-6) * (1 + eviction.RARITY_WEIGHT * max(divergence, 0))
            utilities.append(utility * 0.5 ** ((newest - each.admitted) / config.half_life))
        del kept[int(np.argmin(utilities))]
    return [each.admitted for each in kept]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), limit=st.integers(2, 6), half_life=st.sampled_from([5.0, 1000.0]))
def test_frames_are_evicted_as_the_definition_says(seed, limit, half_life):
    rng = np.random.default_rng(seed)
    config = BufferConfig(half_life=half_life)
    frame = StoredFrame.encode(make_frame(0), ImageStorage())
    stream = []
    for i in range(25):
        summary = make_summary(rng)
        stream.append(FrameTraits(rng.uniform(0, 80, 2), summary.descriptor, summary.histogram, i))
    frames = BoundedFrameSet(config, limit, 10**9)
    for traits in stream:
        expected = frames.would_keep(traits)
        assert frames.add(BufferEntry(traits.admitted, frame, traits)) == expected
    assert [entry.key for entry in frames.entries] == slow_eviction(stream, config, limit)
    assert frames.nbytes == len(frames.entries) * frame.nbytes
