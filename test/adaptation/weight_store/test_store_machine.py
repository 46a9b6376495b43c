"""Any sequence of changes, checked against a model of what a store is."""

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule
from store_weights import make_weights

from sam_adapt_ros.adaptation import Record, StoreWatcher, WeightStore
from sam_adapt_ros.adaptation.weight_store.version import version_number
from sam_adapt_ros.errors import StoreError


class StoreMachine(RuleBasedStateMachine):
    """The model: versions present in order, how many were rejected, and the trail of promotions from the source on."""

    versions = Bundle("versions")

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
        self.store = WeightStore(Path(self.folder.name) / "store")
        self.seed = 0

    @initialize(target=versions)
    def start(self):
        source = self.store.initialize(make_weights(-1)).name
        self.source, self.present, self.trail, self.rejected = source, [source], [source], 0
        self.bytes = {source: self.store.source().path.read_bytes()}
        self.watcher = StoreWatcher(self.store.folder)
        return source

    @rule(target=versions)
    def add(self):
        self.seed += 1
        version = self.store.add(make_weights(self.seed), Record(frames=self.seed))
        assert version_number(version.name) > max(int(name[1:5]) for name in self.bytes)
        self.present.append(version.name)
        self.bytes[version.name] = version.path.read_bytes()
        return version.name

    @rule(target=versions, again=st.booleans())
    def add_what_is_there(self, again):
        if self.present[-1] != self.source:
            version = self.store.get(self.present[-1])
            assert self.store.add(version.path, Record()) == version
        return multiple()

    @rule(target=versions)
    def add_what_does_not_fit(self):
        try:
            self.store.add(make_weights(5, taxonomy="other"), Record())
        except StoreError as error:
            assert error.reason == "refused"
            self.rejected += 1
        else:
            raise AssertionError("taken")
        return multiple()

    @rule(name=versions)
    def promote(self, name):
        try:
            self.store.promote(name)
        except StoreError as error:
            assert error.reason == "missing"
            assert name not in self.present
            return
        if name == self.source:
            self.trail = [self.source]
        elif name != self.trail[-1]:
            self.trail = [entry for entry in self.trail if entry != name or entry == self.source] + [name]

    @rule(of=st.none() | versions)
    def rollback(self, of):
        try:
            self.store.rollback(of=of)
        except StoreError as error:
            assert error.reason == "refused"
            assert len(self.trail) == 1
            return
        if of is None or of == self.trail[-1]:
            self.trail.pop()

    @rule(keep=st.integers(0, 4))
    def prune(self, keep):
        removed = self.store.prune(keep)
        kept = {self.source, *self.trail[-2:], *self.present[len(self.present) - min(keep, len(self.present)) :]}
        assert set(removed) == set(self.present) - kept
        self._forget(removed)
        self.rejected = min(self.rejected, keep)

    @rule(name=versions)
    def reject(self, name):
        try:
            self.store.reject(name, "drawn")
        except StoreError as error:
            assert error.reason == ("refused" if name == self.source else "missing")
            return
        self._forget([name])
        self.rejected += 1

    @rule()
    def reopen(self):
        self.store = WeightStore(self.store.folder)

    def _forget(self, names):
        self.present = [name for name in self.present if name not in names]
        self.trail = [name for name in self.trail if name not in names]

    @invariant()
    def agrees_with_the_model(self):
        if not self.bytes:
            return
        assert self.store.verify() == []
        assert [version.name for version in self.store.versions()] == self.present
        assert self.store.source().name == self.source
        assert self.store.current().name == self.trail[-1]
        assert self.store.pointer().previous == (self.trail[-2] if len(self.trail) > 1 else "")
        assert all(self.store.get(name).path.read_bytes() == self.bytes[name] for name in self.present)
        assert len(list(self.store.rejected)) == self.rejected
        self.watcher.poll()
        assert self.watcher.running == self.trail[-1]

    def teardown(self):
        self.folder.cleanup()


StoreMachine.TestCase.settings = settings(
    max_examples=15, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
TestStoreMachine = StoreMachine.TestCase
