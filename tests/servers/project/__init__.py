"""The site, and the jobs, that run under each server and each queue. Nothing here is a test."""
