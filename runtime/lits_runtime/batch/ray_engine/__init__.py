"""The engine that sends jobs to the workers of a Ray cluster; the only room that imports ray."""
