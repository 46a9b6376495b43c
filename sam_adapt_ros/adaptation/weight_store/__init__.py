"""The weight store: immutable versions, an atomically replaced pointer, staging and rejected weights."""
