"""Compiled functions where no folder can be written."""

from numba.core import caching

from sam_adapt_ros.io import compiled


def test_where_nothing_can_be_cached_functions_are_compiled_all_the_same(monkeypatch, caplog):
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    compiled._warn_of_no_cache.cache_clear()
    doubled, tripled = compiled.compiled(lambda a: 2 * a), compiled.compiled(lambda a: 3 * a)
    assert (doubled(2), tripled(2)) == (4, 6)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "NUMBA_CACHE_DIR" in caplog.text
