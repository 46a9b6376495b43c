"""Long work in parts: over local processes or a Ray cluster, each part done once, whatever is killed meanwhile."""

from sam_adapt_ros.parallel.choose_engine import choose_engine
from sam_adapt_ros.parallel.engine import Engine
from sam_adapt_ros.parallel.map_shards import map_shards
from sam_adapt_ros.parallel.ray_cluster import LOCAL
from sam_adapt_ros.parallel.shard import Function, Shard

__all__ = ["LOCAL", "Engine", "Function", "Shard", "choose_engine", "map_shards"]
