"""The segmenter node's parts: inference, publishers, hot swap of weights, and the client of the weight store."""
