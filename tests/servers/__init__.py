"""The servers and task queues that people run, each on the same site and the same jobs."""
