"""The definitions of MLA and GAPP written down literally; slow."""

from math import sqrt

IGNORE = 255


def enhance_slowly(points, labels, membership, areas, config):
    """(labels, [(class or None, reason or None)] by mask)."""
    xs = [[float(v) for v in p] for p in points]
    y = [int(v) for v in labels]
    ranges = [sqrt((x * x + y_ * y_) + z * z) for x, y_, z in xs]
    results = [None] * len(areas)
    for m in sorted(range(len(areas)), key=lambda m: (-areas[m].item(), m)):
        P = [n for n in range(len(xs)) if membership[m][n]]
        L = [n for n in P if y[n] != IGNORE]
        votes = {c: sum(y[n] == c for n in L) for c in {y[n] for n in L}}
        if len(L) < config.min_points:
            results[m] = (None, "size")
            continue
        winner = min(votes, key=lambda c: (-votes[c], c))
        if votes[winner] / len(L) < config.min_purity:
            results[m] = (None, "purity")
            continue
        if len(L) / len(P) < config.min_representativity:
            results[m] = (None, "representativity")
            continue
        results[m] = (winner, None)
        candidates = [n for n in P if config.relabel or y[n] in (IGNORE, winner)]
        S = {n for n in candidates if y[n] == winner}
        if config.propagation == "direct":
            S = set(candidates)
        while config.propagation == "gapp":
            joining = [n for n in candidates if n not in S and any(_touch(n, s, xs, ranges, config) for s in S)]
            if not joining:
                break
            S.update(joining)
        for n in S:
            y[n] = winner
    return y, results


def _touch(n, s, xs, ranges, config):
    radius = config.radius_per_metre * min(ranges[n], ranges[s])
    rho = min(max(radius, config.min_radius), config.max_radius)
    dx, dy, dz = (a - b for a, b in zip(xs[n], xs[s], strict=True))
    return sqrt((dx * dx + dy * dy) + dz * dz) <= rho
