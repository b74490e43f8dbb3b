"""Scans by list: manifests as CSV or Parquet, and what lies below the prefix of a store."""
