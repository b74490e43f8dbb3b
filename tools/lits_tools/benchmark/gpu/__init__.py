"""All measurements that need a GPU, in one run of ten minutes."""
