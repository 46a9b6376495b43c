"""Weights from one store to another, as from a fleet's to a vehicle's: checked, and taken as a whole or not at all."""

from __future__ import annotations

import logging
from pathlib import Path

from sam_adapt_ros.adaptation.weight_store.store import WeightStore
from sam_adapt_ros.adaptation.weight_store.store_reader import StoreReader
from sam_adapt_ros.adaptation.weight_store.version import Version, find_damage, version_hash
from sam_adapt_ros.errors import StoreError

logger = logging.getLogger(__name__)


def transfer(giver: str | Path, taker: str | Path, name: str = "") -> tuple[Version, bool]:
    """Puts a version of one store to use in another; returns the version there, and whether that has changed anything.

    Both stores have the same source model, so that a rollback ends where the version came from; a folder without a
    store becomes one that begins with it. A kill at any instant leaves the version in use as it was, or the new one.

    Args:
        giver: folder of the store that has the version. taker: folder of the store that takes it.
        name: of the version; "": the one in use.
    Raises:
        StoreError: ``missing`` where the giver is no store; ``damaged``; ``refused`` where the source models differ,
            or nothing but the source model is in use; ``moved_on`` where the taker changes meanwhile. What the taker
            used stays in use then.
    """
    from_store, to_store = StoreReader(giver), WeightStore(taker)
    source = from_store.source()
    version = from_store.get(name) if name else from_store.current()
    if version.name == source.name and not name:
        raise StoreError(
            "refused",
            f"{giver}: uses its source model, {source.name}: there is nothing learned to give; name a version",
        )
    for each in (source, version):
        if damage := find_damage(each.path, deep=True):
            raise StoreError("damaged", f"{damage}; not transferred")
    if not to_store.exists:
        to_store.initialize(source.path)
        logger.info("%s: a new store, which begins with the source model of %s", taker, giver)
    elif version_hash(to_store.source().name) != version_hash(source.name):
        raise StoreError(
            "refused",
            f"{taker}: its source model is {to_store.source().name}, that of {giver} is {source.name}: weights that "
            "were adapted from another model are not taken",
        )
    before = to_store.current()
    added = to_store.source() if version.name == source.name else to_store.add(version.path, version.record)
    if added.name == before.name:
        return added, False
    return to_store.promote(added, f"{version.name} of {giver}", over=before), True
