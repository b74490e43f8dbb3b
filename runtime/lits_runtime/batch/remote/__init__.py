"""Jobs whose scan or results lie in a store: fetched to local scratch, segmented, put back."""
